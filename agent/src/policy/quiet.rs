//! Hours in which no fault is begun.

use std::{collections::BTreeSet, fmt};

use jiff::{
    Timestamp, ToSpan,
    civil::{Time, Weekday},
    tz::TimeZone,
};

/// A span of hours on some days of the week, in one time zone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quiet {
    /// Days on which it begins.
    pub(super) days: BTreeSet<u8>,
    pub(super) from: Time,
    /// Not itself in it. Not after `from`: on the next day.
    pub(super) to: Time,
    pub(super) zone: TimeZone,
}

impl Quiet {
    /// Whether a moment lies in it.
    pub(super) fn covers(&self, moment: Timestamp) -> bool {
        let local = moment.to_zoned(self.zone.clone()).datetime();
        let time = local.time();
        if self.from < self.to {
            return self.begins_on(local.weekday()) && (self.from..self.to).contains(&time);
        }
        let yesterday = local.date().saturating_sub(1.day()).weekday();
        (self.begins_on(local.weekday()) && time >= self.from)
            || (self.begins_on(yesterday) && time < self.to)
    }

    fn begins_on(&self, day: Weekday) -> bool {
        self.days.contains(&day.to_monday_zero_offset().cast_unsigned())
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("local time");
        write!(f, "{} to {}, {zone}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}
