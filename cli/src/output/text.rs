//! Figures as people read them.

use std::time::{Duration, SystemTime};

use chaos_kitty::Timestamp;
pub(crate) use chaos_kitty::text::{json, lines, printable, steers};

/// `850µs`, `12.3ms`, `2.00s`, `3m 20s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0 => "0s".to_owned(),
        ..0.001 => format!("{:.0}µs", seconds * 1e6),
        ..1.0 => format!("{:.1}ms", seconds * 1e3),
        ..60.0 => format!("{seconds:.2}s"),
        _ => humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string(),
    }
}

/// A duration as it was asked: without trailing zeros.
pub(crate) fn asked(duration: &pbjson_types::Duration) -> String {
    humantime::format_duration(std(duration)).to_string()
}

/// The standard library's duration; a negative one counts as zero.
pub(crate) fn std(duration: &pbjson_types::Duration) -> Duration {
    (*duration).try_into().unwrap_or_default()
}

/// The duration of a field that may be unset, which counts as zero.
pub(crate) fn measured(field: Option<&pbjson_types::Duration>) -> String {
    duration(field.map(std).unwrap_or_default())
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// `512 B`, `64.0 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// How long ago; nothing for an unset time.
pub(crate) fn ago(time: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(then) = time.and_then(system_time) else { return String::new() };
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    format!("{} ago", coarse(seconds))
}

/// How long until; nothing for an unset time.
pub(crate) fn until(time: Option<&Timestamp>, now: SystemTime) -> String {
    let Some(then) = time.and_then(system_time) else { return String::new() };
    format!("in {}", coarse(then.duration_since(now).unwrap_or_default().as_secs()))
}

/// Seconds in their two largest units.
pub(crate) fn coarse(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// `2026-11-22T07:43:42Z`; nothing for an unset time.
pub(crate) fn time(time: Option<&Timestamp>) -> String {
    let time = time.and_then(system_time);
    time.map(|time| humantime::format_rfc3339_millis(time).to_string()).unwrap_or_default()
}

/// `2026-11-22T07:43:42.139495Z`, as suites are named; nothing for an unset time.
pub(crate) fn moment(time: Option<&Timestamp>) -> String {
    let time = time.and_then(system_time);
    time.map(|time| humantime::format_rfc3339_micros(time).to_string()).unwrap_or_default()
}

/// From one time to another, if both are known.
pub(crate) fn between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> Option<Duration> {
    to.and_then(system_time)?.duration_since(from.and_then(system_time)?).ok()
}

/// Seconds since a time, for display of what is up since then.
pub(crate) fn seconds_since(time: Option<&Timestamp>, now: SystemTime) -> u64 {
    let then = time.and_then(system_time);
    then.and_then(|then| now.duration_since(then).ok()).unwrap_or_default().as_secs()
}

/// A time within the years that can be shown.
fn system_time(time: &Timestamp) -> Option<SystemTime> {
    const YEAR_9999: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.seconds).ok().filter(|seconds| *seconds <= YEAR_9999)?;
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_figures() {
        let shown = |micros| duration(Duration::from_micros(micros));
        assert_eq!([shown(0), shown(850), shown(12_340)], ["0s", "850µs", "12.3ms"]);
        assert_eq!([shown(2_000_400), shown(200_000_000)], ["2.00s", "3m 20s"]);
    }

    #[test]
    fn bytes_are_binary() {
        assert_eq!([bytes(512), bytes(64 << 20), bytes(3 << 29)], ["512 B", "64.0 MiB", "1.5 GiB"]);
    }

    #[test]
    fn a_time_that_no_clock_shows_is_left_out() {
        let far = Timestamp { seconds: i64::MAX, nanos: 0 };
        let before = Timestamp { seconds: -1, nanos: 0 };
        assert_eq!(time(Some(&far)) + &time(Some(&before)) + &time(None), "");
        assert_eq!(time(Some(&Timestamp { seconds: 0, nanos: 5_000_000 })), "1970-01-01T00:00:00.005Z");
    }

    #[test]
    fn ages_are_coarse() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(4000);
        assert_eq!(ago(Some(&Timestamp { seconds: 3990, nanos: 0 }), now), "10s ago");
        assert_eq!(ago(Some(&Timestamp { seconds: 5000, nanos: 0 }), now), "0s ago");
        assert_eq!(until(Some(&Timestamp { seconds: 4090, nanos: 0 }), now), "in 1m 30s");
    }
}
