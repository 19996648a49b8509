//! Hours in which no fault is begun.

use std::fmt;

use chaos_kitty::hours::Window;
use jiff::{Timestamp, tz::TimeZone};

/// A span of hours on some days of the week, in one time zone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quiet {
    pub(super) window: Window,
    pub(super) zone: TimeZone,
}

impl Quiet {
    /// Whether a moment lies in it.
    pub(super) fn covers(&self, moment: Timestamp) -> bool {
        let local = moment.to_zoned(self.zone.clone()).datetime();
        let minute = u16::from(local.hour().cast_unsigned()) * 60 + u16::from(local.minute().cast_unsigned());
        self.window.covers(local.weekday().to_monday_zero_offset().cast_unsigned(), minute)
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("local time");
        write!(f, "{}, {zone}", self.window)
    }
}
