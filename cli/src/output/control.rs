//! What the control plane does of its own accord: the administrative state and the schedule.

use std::time::SystemTime;

use chaos_kitty::v1::{AdminStateResponse, Schedule, schedule::PlatformSchedule};

use super::{
    Cell, Row, Tone, View,
    status::{admin_cell, field},
    table::{align, render},
    text::{ago, asked, time, until},
};

impl View for AdminStateResponse {
    fn view(&self, now: SystemTime) -> String {
        let mut fields =
            vec![field("state", admin_cell(self.state())), field("since", since(self.since.as_ref(), now))];
        if self.halted {
            fields.push(field("halted", Cell::new("only `kittyctl resume` leaves it", Tone::Bad)));
        }
        align(&fields)
    }

    fn name(&self) -> String {
        self.state().as_str_name().to_owned()
    }
}

fn since(at: Option<&chaos_kitty::Timestamp>, now: SystemTime) -> String {
    if at.is_none() { String::new() } else { format!("{} ({})", time(at), ago(at, now)) }
}

impl View for Schedule {
    fn view(&self, now: SystemTime) -> String {
        let automated = if self.automated {
            Cell::new("on", Tone::Good)
        } else {
            Cell::new("off: no experiment starts by itself", Tone::Dim)
        };
        let backoff = self.backoff.as_ref().map(asked).unwrap_or_default();
        let over = self.backoff_until.as_ref().map(|end| format!(", over {}", until(Some(end), now)));
        let mut text = align(&[
            field("automated", automated),
            field("backoff", format!("{backoff}{}", over.unwrap_or_default())),
        ]);
        if !self.platforms.is_empty() {
            text.push('\n');
            text.push_str(&render(&self.platforms, now));
        }
        text
    }

    fn name(&self) -> String {
        if self.automated { "on" } else { "off" }.to_owned()
    }
}

impl Row for PlatformSchedule {
    const PLURAL: &'static str = "platforms";
    const HEAD: &'static [&'static str] = &["PLATFORM", "MEAN", "PROBABILITY", "NEXT", "LAST", "CALENDAR"];

    fn cells(&self, now: SystemTime) -> Vec<Cell> {
        vec![
            Cell::from(&self.platform_type),
            self.mean.as_ref().map(asked).unwrap_or_default().into(),
            self.probability.into(),
            time(self.next.as_ref()).into(),
            ago(self.times.first(), now).into(),
            Cell::from(&self.calendar),
        ]
    }

    fn key(&self) -> &str {
        &self.platform_type
    }
}
