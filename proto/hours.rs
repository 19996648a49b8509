//! Days of the week and hours of a day as people write them: working hours of a server, quiet hours of a host.

use std::{fmt, str::FromStr};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const FORM: &str = "write it like 09:00-17:00, 22:00-06:00 (into the next day), or with days: \
                    Mon-Thu 08:00-12:00,13:00-17:00; Fri 08:00-12:00";

/// Days of the week; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days(u8);

/// Hours of a day on some days of the week. They may go on into the next day, and belong to the day on which they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    days: Days,
    from: u16,
    /// More than `from`; from 24:00 on it is of the next day.
    to: u16,
}

/// One window or several, e.g. `Mon-Thu 08:00-12:00,13:00-17:00; Fri 22:00-06:00`. Without days: Monday to Friday.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours(Vec<Window>);

impl Days {
    /// Monday to Friday.
    pub const WORKING: Self = Self(0b001_1111);
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// Whether a day is one of them; 0 is Monday.
    pub const fn contains(self, day: u8) -> bool {
        self.0 >> (day % 7) & 1 == 1
    }

    /// These days and those.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
}

impl Window {
    /// From one minute of the day until before another: of the next day unless it is later. `to` is at most 24:00.
    pub const fn new(days: Days, from: u16, to: u16) -> Self {
        Self { days, from, to: if to > from { to } else { to.saturating_add(DAY) } }
    }

    /// The days on which it begins.
    pub const fn days(self) -> Days {
        self.days
    }

    /// The minute of the day at which it begins.
    pub const fn from(self) -> u16 {
        self.from
    }

    /// The minute at which it is over; from 24:00 (1440) on, of the next day.
    pub const fn to(self) -> u16 {
        self.to
    }

    /// Whether a minute of a day (0 is Monday) is in it.
    pub const fn covers(self, day: u8, minute: u16) -> bool {
        let today = self.days.contains(day) && self.from <= minute && minute < self.to;
        today || (self.days.contains(day % 7 + 6) && minute.saturating_add(DAY) < self.to)
    }
}

impl Hours {
    /// The windows that begin on a day (0 is Monday), earliest first.
    pub fn of(&self, day: u8) -> impl Iterator<Item = Window> {
        self.0.iter().copied().filter(move |window| window.days.contains(day))
    }
}

/// A time of day from `00:00` to `24:00`, in minutes.
///
/// # Errors
/// How to write it.
pub fn clock(text: &str) -> Result<u16, String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|it| it.is_ascii_digit()));
    let read = || {
        let (hour, minute) = text.split_once(':').filter(|(_, minute)| minute.len() == 2)?;
        let (hour, minute) = (number(hour)?, number(minute)?);
        (hour <= 24 && minute < 60).then_some(hour * 60 + minute).filter(|time| *time <= DAY)
    };
    read().ok_or_else(|| "it is not a time of day from 00:00 to 24:00".to_owned())
}

fn window(days: Days, text: &str) -> Result<Window, String> {
    let (from, to) = text.split_once('-').ok_or_else(|| format!("{text:?} has no end"))?;
    let time = |text: &str| clock(text).map_err(|why| format!("{text:?}: {why}"));
    let (from, to) = (time(from)?, time(to)?);
    if from == DAY {
        return Err(format!("{text:?} begins at 24:00, which is 00:00 of the next day"));
    }
    if from == to {
        return Err(format!("{text:?} ends when it begins: the whole day is 00:00-24:00"));
    }
    Ok(Window::new(days, from, to))
}

fn day(text: &str) -> Result<u8, String> {
    let is_named = |name: &str| text.eq_ignore_ascii_case(name) || text.eq_ignore_ascii_case(short(name));
    let found = NAMES.iter().position(|name| is_named(name));
    let found = found.and_then(|day| u8::try_from(day).ok());
    found.ok_or_else(|| format!("{text:?} is not a day: write Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
}

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

impl FromStr for Days {
    type Err = String;

    /// One day, or from one to another: `Sat`, `Sun-Thu`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (day(first.trim())?, day(last.trim())?);
        let last = if last < first { last + 7 } else { last };
        Ok(Self((first..=last).fold(0, |days, day| days | 1 << (day % 7))))
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        windows(text).map(Self).map_err(|why| format!("{why}; {FORM}"))
    }
}

fn windows(text: &str) -> Result<Vec<Window>, String> {
    let text = text.split('-').map(str::trim).collect::<Vec<_>>().join("-");
    let (mut windows, mut days, mut named) = (Vec::new(), Days::WORKING, None::<Days>);
    for word in text.split([',', ';', ' ', '\t']).filter(|word| !word.is_empty()) {
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            days = named.take().unwrap_or(days);
            windows.push(window(days, word)?);
        } else {
            let more = word.parse()?;
            named = Some(named.map_or(more, |named| named.with(more)));
        }
    }
    match named {
        Some(days) => Err(format!("no hours are given for {days}")),
        None if windows.is_empty() => Err("no hours are given".to_owned()),
        None => {
            windows.sort_by_key(|window| window.from);
            Ok(windows)
        }
    }
}

impl fmt::Display for Days {
    /// Three days or more in a row are written as one span.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut day, mut comma) = (0, "");
        while day < 7 {
            let run = (day..7).take_while(|day| self.contains(*day)).count();
            let last = day + u8::try_from(run).unwrap_or_default().saturating_sub(1);
            let name = |day: u8| NAMES.get(usize::from(day)).map_or("", |name| short(name));
            match run {
                0 => {}
                1 => write!(f, "{comma}{}", name(day))?,
                2 => write!(f, "{comma}{},{}", name(day), name(last))?,
                _ => write!(f, "{comma}{}-{}", name(day), name(last))?,
            }
            comma = if run > 0 { "," } else { comma };
            day = last + 1;
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { days, from, to } = *self;
        let to = if to > DAY { to - DAY } else { to };
        write!(f, "{days} {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .enumerate()
            .try_for_each(|(index, window)| write!(f, "{}{window}", if index == 0 { "" } else { "; " }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_with_any_days_and_over_midnight() {
        for (text, shown) in [
            ("09:00-17:00", "Mon-Fri 09:00-17:00"),
            ("9:00 - 17:00", "Mon-Fri 09:00-17:00"),
            ("22:00-06:00", "Mon-Fri 22:00-06:00"),
            ("00:00-24:00", "Mon-Fri 00:00-24:00"),
            ("18:00-00:00", "Mon-Fri 18:00-24:00"),
            ("Sun-Thu 22:00-06:00", "Mon-Thu,Sun 22:00-06:00"),
            ("fri-mon 08:00-10:00", "Mon,Fri-Sun 08:00-10:00"),
            ("Saturday, sunday 10:00-14:00", "Sat,Sun 10:00-14:00"),
            ("13:00-17:00,08:00-12:00", "Mon-Fri 08:00-12:00; Mon-Fri 13:00-17:00"),
            (
                "Mon,Wed 08:00-12:00,13:00-17:00; Sat 10:00-14:00",
                "Mon,Wed 08:00-12:00; Sat 10:00-14:00; Mon,Wed 13:00-17:00",
            ),
        ] {
            let hours: Hours = text.parse().unwrap();
            assert_eq!(hours.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Hours>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refused_hours_say_why_and_how_to_write_them() {
        for (text, why) in [
            ("", "no hours are given"),
            ("9-17", "\"9\": it is not a time of day"),
            ("09:00", "\"09:00\" has no end"),
            ("09:00-25:00", "\"25:00\": it is not a time of day"),
            ("09:00-24:01", "\"24:01\": it is not a time of day"),
            ("09:60-10:00", "\"09:60\": it is not"),
            ("24:00-06:00", "begins at 24:00"),
            ("09:00-09:00", "ends when it begins"),
            ("09:00-12:00-14:00", "\"12:00-14:00\": it is not"),
            ("Mon-Fry 09:00-17:00", "\"Fry\" is not a day: write Mon, Tue"),
            ("09:00-17:00 Sat", "no hours are given for Sat"),
            ("\u{feff}09:00-17:00", "is not a day"),
        ] {
            let refused = text.parse::<Hours>().unwrap_err();
            assert!(refused.contains(why) && refused.contains("22:00-06:00"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let friday = Window::new("Fri".parse().unwrap(), 22 * 60, 6 * 60);
        let covered = [(4, 22 * 60), (4, DAY - 1), (5, 0), (5, 6 * 60 - 1)];
        assert!(covered.into_iter().all(|(day, minute)| friday.covers(day, minute)));
        let free = [(4, 0), (4, 22 * 60 - 1), (5, 6 * 60), (5, 23 * 60), (3, 23 * 60)];
        assert!(!free.into_iter().any(|(day, minute)| friday.covers(day, minute)));
        assert!(Window::new(Days::ALL, 18 * 60, 18 * 60).covers(0, 0));
    }
}
