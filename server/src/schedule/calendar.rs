//! When people are at work who can look after what an experiment does.

use std::{fmt, time::Duration};

use chaos_kitty::hours::Hours;
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use super::holidays::Holidays;

/// Minutes of a day.
const MINUTES: u16 = 24 * 60;

/// A calendar that is always open, by its name.
pub const NONSTOP: &str = "NONSTOP";

/// When automatic experiments may start, and how time is counted between them.
#[derive(Clone, Debug)]
pub enum Calendar {
    /// Day and night, for tests and for those who mean it.
    Nonstop,
    /// Within the hours of their days of the week, except on holidays.
    Office(Office),
}

/// Where and when people work.
#[derive(Clone, Debug)]
pub struct Office {
    /// Whose clocks the hours are of.
    pub zone: TimeZone,
    /// By the day of the week. What begins on a working day goes on over midnight, whatever the next day is.
    pub hours: Hours,
    /// Days that are none.
    pub holidays: Holidays,
}

impl Calendar {
    /// Whether experiments may start at that moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        match self {
            Self::Nonstop => true,
            Self::Office(office) => {
                let today = office.zone.to_datetime(at).date();
                let days = today.yesterday().into_iter().chain([today]);
                days.flat_map(|day| office.spans(day)).any(|(opens, closes)| opens <= at && at < closes)
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
        let today = self.zone.to_datetime(from).date();
        // A window of the day before may go on into this one.
        let (mut day, mut counted) = (today.yesterday().unwrap_or(today), from);
        loop {
            for (opens, closes) in self.spans(day) {
                let begins = opens.max(counted);
                let left = closes.duration_since(begins);
                if working < left {
                    return begins.checked_add(working).unwrap_or(Timestamp::MAX);
                }
                working = working.saturating_sub(left.max(SignedDuration::ZERO));
                // Windows may overlap: no moment counts twice.
                counted = begins.max(closes);
            }
            let Ok(next) = day.tomorrow() else { return Timestamp::MAX };
            day = next;
        }
    }

    /// When the windows of a day open and close, earliest first.
    fn spans(&self, day: Date) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let weekday = day.weekday().to_monday_zero_offset().cast_unsigned();
        let windows = (!self.holidays.is_off(day)).then(|| self.hours.of(weekday));
        let moment = move |minute| self.moment(day, minute);
        windows.into_iter().flatten().filter_map(move |it| moment(it.from()).zip(moment(it.to())))
    }

    /// When the clocks of the zone show that minute, counted from the beginning of the day: for the first time where
    /// they are put back, and where they are put forward over it, when that is done.
    fn moment(&self, day: Date, minute: u16) -> Option<Timestamp> {
        let (day, minute) =
            if minute < MINUTES { (day, minute) } else { (day.tomorrow().ok()?, minute - MINUTES) };
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let local = day.to_datetime(Time::new(hour, minute, 0, 0).ok()?);
        let shown = self.zone.to_ambiguous_timestamp(local);
        let is_skipped = matches!(shown.offset(), AmbiguousOffset::Gap { .. });
        let first = shown.earlier().ok()?;
        if is_skipped { self.zone.following(first).next().map(|put| put.timestamp()) } else { Some(first) }
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Office(office) = self else { return f.write_str(NONSTOP) };
        write!(f, "{} {}", office.zone.iana_name().unwrap_or("UTC"), office.hours)?;
        office.holidays.country().map_or(Ok(()), |country| write!(f, ", holidays of {country}"))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{DateTime, date};
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOURS: &[&str] = &[
        "09:00-17:00",
        "00:00-24:00",
        "22:00-24:00",
        "01:30-03:15",
        "22:00-06:00",
        "Sun-Thu 23:30-00:30",
        "Mon,Wed,Sat 08:00-12:00,11:00-17:00",
        "Mon-Sun 20:00-19:00; Sun 18:00-18:30",
    ];

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
            "Europe/Prague Mon-Fri 09:00-17:30, holidays of CZ"
        );
        assert_eq!(office("UTC", "00:00-24:00", "").to_string(), "UTC Mon-Fri 00:00-24:00");
        assert_eq!(Calendar::Nonstop.to_string(), NONSTOP);
    }

    #[test]
    fn a_night_shift_goes_on_into_the_next_day_and_into_weekends() {
        let (zone, nights) = ("Europe/Prague", office("Europe/Prague", "22:00-06:00", "CZ"));
        let moment = |day, hour| at(zone, date(2026, 6, day).at(hour, 0, 0, 0));
        // 12 June 2026 is a Friday: its night ends on Saturday, and the next begins on Monday.
        assert!(nights.is_open(moment(12, 23)) && nights.is_open(moment(13, 5)));
        assert!(
            !nights.is_open(moment(13, 6))
                && !nights.is_open(moment(13, 23))
                && !nights.is_open(moment(15, 5))
        );
        assert_eq!(nights.after(moment(13, 5), HOUR), moment(15, 22));
        assert_eq!(nights.after(moment(12, 12), 10 * HOUR), moment(16, 0));
    }

    #[test]
    fn several_windows_and_any_days_are_counted_once() {
        let (zone, hours) = ("UTC", "Sun-Thu 08:00-12:00,13:00-17:00; Sat 10:00-14:00,12:00-15:00");
        let calendar = office(zone, hours, "");
        let moment = |day, hour| at(zone, date(2026, 6, day).at(hour, 0, 0, 0));
        // From Thursday, 11 June: Friday is off, Saturday has five hours though seven are written.
        assert!(!calendar.is_open(moment(11, 12)) && !calendar.is_open(moment(12, 10)));
        assert_eq!(calendar.after(moment(11, 8), 4 * HOUR), moment(11, 13));
        assert_eq!(calendar.after(moment(11, 8), 8 * HOUR), moment(13, 10));
        assert_eq!(calendar.after(moment(11, 8), 13 * HOUR), moment(14, 8));
    }

    #[test]
    fn a_night_on_which_clocks_are_put_is_as_long_as_it_is() {
        let (zone, nights) = ("Europe/Prague", office("Europe/Prague", "Sat 22:00-06:00", ""));
        for (saturday, length) in [(date(2026, 3, 28), 7), (date(2026, 10, 24), 9), (date(2026, 6, 6), 8)] {
            let opens = at(zone, saturday.at(22, 0, 0, 0));
            let next = at(zone, saturday.saturating_add(jiff::Span::new().days(7)).at(22, 0, 0, 0));
            assert_eq!(nights.after(opens, length * HOUR), next, "{saturday}");
        }
    }

    #[test]
    fn hours_that_clocks_skip_are_not_open_later() {
        let (zone, early) = ("Europe/Prague", office("Europe/Prague", "Sun 02:15-02:45", ""));
        let sunday = |hour, minute| at(zone, date(2026, 3, 29).at(hour, minute, 0, 0));
        assert!(!early.is_open(sunday(3, 15)) && !early.is_open(sunday(3, 30)));
        // Samoa had no 30 December 2011, a Friday: its hours are not those of Saturday.
        let apia = office("Pacific/Apia", "Fri 09:00-17:00", "");
        assert!(!apia.is_open(at("Pacific/Apia", date(2011, 12, 31).at(10, 0, 0, 0))));
    }

    proptest! {
        #[test]
        fn it_is_open_whenever_a_gap_is_over_and_gaps_add_up(
            zone in prop::sample::select(vec!["UTC", "Europe/Prague", "America/Toronto", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"]),
            country in prop::sample::select(vec!["", "CZ", "CA", "US", "FR"]),
            hours in prop::sample::select(HOURS.to_vec()),
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

        #[test]
        fn it_is_open_when_the_clock_shows_a_working_hour(
            zone in prop::sample::select(vec!["UTC", "Europe/Prague", "Australia/Lord_Howe", "Pacific/Apia"]),
            hours in prop::sample::select(HOURS.to_vec()),
            from in 0..2_500_000_000i64,
        ) {
            let Calendar::Office(office) = office(zone, hours, "") else { unreachable!() };
            let at = Timestamp::from_second(from).unwrap();
            let shown = office.zone.to_datetime(at);
            // In the hours that are shown twice it may be closed the second time.
            prop_assume!(!matches!(office.zone.to_ambiguous_timestamp(shown).offset(), AmbiguousOffset::Fold { .. }));
            let minute = u16::from(shown.hour().cast_unsigned()) * 60 + u16::from(shown.minute().cast_unsigned());
            let is_on = |day: Date, minute| {
                let weekday = day.weekday().to_monday_zero_offset().cast_unsigned();
                let mut windows = office.hours.of(weekday);
                !office.holidays.is_off(day) && windows.any(|it| it.from() <= minute && minute < it.to())
            };
            let expected = is_on(shown.date(), minute) || is_on(shown.date().yesterday().unwrap(), minute + MINUTES);
            prop_assert_eq!(Calendar::Office(office).is_open(at), expected);
        }
    }
}
