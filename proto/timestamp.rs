//! `google.protobuf.Timestamp`, with the JSON form that the protobuf JSON mapping asks for: RFC 3339 in UTC,
//! ended by `Z`, with 0, 3, 6 or 9 digits of a second. (pbjson's own writes `+00:00`.)

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};

const SECOND: i32 = 1_000_000_000;

/// A moment on the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Since 1970-01-01T00:00:00Z, without leap seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// 0 to 999,999,999, counting forwards, also before 1970.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// This moment.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Whether it is of the years 1970 to 9999, which is what can be written: no clock of a running system is outside of
    /// them.
    pub fn is_sane(&self) -> bool {
        const LAST: i64 = 253_402_300_799;
        (0..=LAST).contains(&self.seconds) && (0..SECOND).contains(&self.nanos)
    }

    /// The same, for the standard library. `None`: out of its range.
    pub fn system_time(self) -> Option<SystemTime> {
        let nanos = Duration::from_nanos(u64::try_from(self.nanos).ok()?);
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = if self.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(seconds)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(seconds)
        };
        whole?.checked_add(nanos)
    }
}

impl From<SystemTime> for Timestamp {
    /// A clock before 1970 counts as 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339; a time that has none by its numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(time) = self.system_time().filter(|_| self.is_sane()) else {
            return write!(f, "{} s and {} ns of 1970", self.seconds, self.nanos);
        };
        match self.nanos {
            0 => humantime::format_rfc3339_seconds(time).fmt(f),
            nanos if nanos % 1_000_000 == 0 => humantime::format_rfc3339_millis(time).fmt(f),
            nanos if nanos % 1_000 == 0 => humantime::format_rfc3339_micros(time).fmt(f),
            _ => humantime::format_rfc3339_nanos(time).fmt(f),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.is_sane() {
            return Err(S::Error::custom(format!("{self:?} is out of range")));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    /// Any RFC 3339 time, of any zone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pbjson_types::Timestamp { seconds, nanos } = Deserialize::deserialize(deserializer)?;
        Ok(Self { seconds, nanos })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_ends_with_z_and_has_as_many_digits_as_needed_in_threes() {
        for (nanos, text) in [
            (0, "2019-08-29T12:55:31Z"),
            (139_000_000, "2019-08-29T12:55:31.139Z"),
            (139_495_000, "2019-08-29T12:55:31.139495Z"),
            (1, "2019-08-29T12:55:31.000000001Z"),
        ] {
            let time = Timestamp { seconds: 1_567_083_331, nanos };
            assert_eq!(serde_json::to_value(time).unwrap(), text);
        }
    }

    #[test]
    fn json_of_another_zone_is_read() {
        let time: Timestamp = serde_json::from_str("\"2019-08-29T14:55:31+02:00\"").unwrap();
        assert_eq!(time, Timestamp { seconds: 1_567_083_331, nanos: 0 });
    }

    proptest! {
        #[test]
        fn a_time_survives_json_and_the_standard_library(seconds in 0i64..253_402_300_800, nanos in 0i32..SECOND) {
            let time = Timestamp { seconds, nanos };
            let text = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
            prop_assert_eq!(time.system_time().map(Timestamp::from), Some(time));
        }

        #[test]
        fn no_number_makes_it_panic(seconds: i64, nanos: i32) {
            let time = Timestamp { seconds, nanos };
            let _ = (time.system_time(), serde_json::to_string(&time), time.to_string());
        }
    }
}
