//! When people are at work who can look after what an experiment does.

use std::{fmt, str::FromStr, time::Duration};

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

use super::holidays::Holidays;

/// A calendar that is always open, by its name.
pub const NONSTOP: &str = "NONSTOP";

/// When automatic experiments may start, and how time is counted between them.
#[derive(Clone, Debug)]
pub enum Calendar {
    /// Day and night, for tests and for those who mean it.
    Nonstop,
    /// Monday to Friday, within the hours, except on holidays.
    Office(Office),
}

/// Where and when people work.
#[derive(Clone, Debug)]
pub struct Office {
    /// Whose clocks the hours are of.
    pub zone: TimeZone,
    /// On each working day.
    pub hours: Hours,
    /// Days that are none.
    pub holidays: Holidays,
}

/// Working hours of a day, e.g. `09:00-17:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    opens: Time,
    /// `None`: with the day, at 24:00.
    closes: Option<Time>,
}

impl Calendar {
    /// Whether experiments may start at that moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        match self {
            Self::Nonstop => true,
            Self::Office(office) => {
                let span = office.span(office.zone.to_datetime(at).date());
                span.is_some_and(|(opens, closes)| opens <= at && at < closes)
            }
        }
    }

    /// The moment by which so much working time has passed since `from`: one at which it is open.
    pub fn after(&self, from: Timestamp, working: Duration) -> Timestamp {
        let working = SignedDuration::try_from(working).unwrap_or(SignedDuration::MAX);
        match self {
            Self::Nonstop => from.checked_add(working).unwrap_or(Timestamp::MAX),
            Self::Office(office) => office.after(from, working),
        }
    }
}

impl Office {
    fn after(&self, from: Timestamp, mut working: SignedDuration) -> Timestamp {
        let mut day = self.zone.to_datetime(from).date();
        loop {
            if let Some((opens, closes)) = self.span(day) {
                let begins = opens.max(from);
                let left = closes.duration_since(begins);
                if working < left {
                    return begins.checked_add(working).unwrap_or(Timestamp::MAX);
                }
                working -= left.max(SignedDuration::ZERO);
            }
            let Ok(next) = day.tomorrow() else { return Timestamp::MAX };
            day = next;
        }
    }

    /// When it opens and closes on that day, on the clocks of its zone: a day on which they are put forward or
    /// back has an hour less or more where that falls within the hours.
    fn span(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        if weekend || self.holidays.is_off(day) {
            return None;
        }
        let closes = match self.hours.closes {
            Some(closes) => day.to_datetime(closes),
            None => day.tomorrow().ok()?.to_datetime(Time::midnight()),
        };
        let moment = |local| self.zone.to_timestamp(local).ok();
        Some((moment(day.to_datetime(self.hours.opens))?, moment(closes)?))
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Office(office) = self else { return f.write_str(NONSTOP) };
        write!(f, "{} {}", office.zone.iana_name().unwrap_or("UTC"), office.hours)?;
        office.holidays.country().map_or(Ok(()), |country| write!(f, ", holidays of {country}"))
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        write!(f, "{}-{}", clock(self.opens), self.closes.map_or_else(|| "24:00".to_owned(), clock))
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let clock = |text: &str| Time::strptime("%H:%M", text).ok();
        let read = || {
            let (opens, closes) = text.split_once('-')?;
            let closes = if closes == "24:00" { None } else { Some(clock(closes)?) };
            Some(Self { opens: clock(opens)?, closes })
        };
        let hours = read().filter(|hours| hours.closes.is_none_or(|closes| hours.opens < closes));
        hours.ok_or_else(|| "write it like 09:00-17:00, or 00:00-24:00".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{DateTime, date};
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn office(zone: &str, hours: &str, country: &str) -> Calendar {
        Calendar::Office(Office {
            zone: TimeZone::get(zone).unwrap(),
            hours: hours.parse().unwrap(),
            holidays: country.parse().unwrap_or_default(),
        })
    }

    fn at(zone: &str, local: DateTime) -> Timestamp {
        local.in_tz(zone).unwrap().timestamp()
    }

    #[test]
    fn working_time_passes_only_in_working_hours() {
        let (zone, prague) = ("Europe/Prague", office("Europe/Prague", "09:00-17:00", "CZ"));
        let moment = |local| at(zone, local);
        // A Friday at 16:00, two hours on: the Monday at 10:00.
        let friday = moment(date(2026, 6, 12).at(16, 0, 0, 0));
        assert_eq!(prague.after(friday, 2 * HOUR), moment(date(2026, 6, 15).at(10, 0, 0, 0)));
        // From the night into the morning; the end of a day is the beginning of the next.
        let night = moment(date(2026, 6, 10).at(3, 0, 0, 0));
        assert_eq!(prague.after(night, Duration::ZERO), moment(date(2026, 6, 10).at(9, 0, 0, 0)));
        assert_eq!(prague.after(night, 8 * HOUR), moment(date(2026, 6, 11).at(9, 0, 0, 0)));
        // Over the end of the year: from the 23rd to 4 January, the first working day of 2027.
        let christmas = moment(date(2026, 12, 23).at(16, 0, 0, 0));
        assert_eq!(prague.after(christmas, 2 * HOUR), moment(date(2027, 1, 4).at(10, 0, 0, 0)));
        // 16 November is a bridge to the holiday of the 17th.
        let friday = moment(date(2026, 11, 13).at(16, 30, 0, 0));
        assert_eq!(prague.after(friday, HOUR), moment(date(2026, 11, 18).at(9, 30, 0, 0)));
    }

    #[test]
    fn the_hours_are_those_of_the_zones_clocks_before_and_after_they_are_put() {
        for (zone, before, after) in [
            ("Europe/Prague", date(2026, 3, 27), date(2026, 3, 30)),
            ("America/New_York", date(2026, 10, 30), date(2026, 11, 2)),
            ("Australia/Lord_Howe", date(2026, 4, 2), date(2026, 4, 6)),
        ] {
            let calendar = office(zone, "09:00-17:00", "");
            for day in [before, after] {
                let open = |hour, minute| calendar.is_open(at(zone, day.at(hour, minute, 0, 0)));
                assert!(!open(8, 59) && open(9, 0) && open(16, 59) && !open(17, 0), "{zone} {day}");
            }
        }
    }

    #[test]
    fn a_day_on_which_clocks_are_put_is_as_long_as_it_is() {
        // In Egypt clocks were put forward in the night to Friday, 25 April 2025, and it has 23 hours.
        let calendar = office("Africa/Cairo", "00:00-24:00", "");
        let cairo = |day| at("Africa/Cairo", date(2025, 4, day).at(0, 0, 0, 0));
        let thursday = cairo(24);
        assert_eq!(calendar.after(thursday, 24 * HOUR), thursday + 24 * HOUR);
        let over_the_weekend = at("Africa/Cairo", date(2025, 4, 28).at(0, 0, 0, 0));
        assert_eq!(calendar.after(thursday, 47 * HOUR), over_the_weekend);
    }

    #[test]
    fn calendars_say_what_they_are() {
        assert_eq!(
            office("Europe/Prague", "09:00-17:30", "cz").to_string(),
            "Europe/Prague 09:00-17:30, holidays of CZ"
        );
        assert_eq!(office("UTC", "00:00-24:00", "").to_string(), "UTC 00:00-24:00");
        assert_eq!(Calendar::Nonstop.to_string(), NONSTOP);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        for text in ["", "9-17", "17:00-09:00", "09:00-09:00", "09:00", "09:00-25:00", "24:00-24:00"] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_open_whenever_a_gap_is_over_and_gaps_add_up(
            zone in prop::sample::select(vec!["UTC", "Europe/Prague", "America/Toronto", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"]),
            country in prop::sample::select(vec!["", "CZ", "CA", "US", "FR"]),
            hours in prop::sample::select(vec!["09:00-17:00", "00:00-24:00", "22:00-24:00", "01:30-03:15"]),
            from in 0..2_500_000_000i64,
            (one, two) in (0..900_000u64, 0..900_000u64),
        ) {
            let calendar = office(zone, hours, country);
            let from = Timestamp::from_second(from).unwrap();
            let (one, two) = (Duration::from_secs(one), Duration::from_secs(two));
            let middle = calendar.after(from, one);
            prop_assert!(middle >= from && calendar.is_open(middle));
            prop_assert_eq!(calendar.after(middle, two), calendar.after(from, one + two));
        }
    }
}
