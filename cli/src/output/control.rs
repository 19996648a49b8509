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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chaos_kitty::{Timestamp, v1::admin_state::Name};

    use super::*;

    fn plain(view: &impl View) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        anstream::adapter::strip_str(&view.view(now)).to_string()
    }

    #[test]
    fn a_halt_says_how_it_ends() {
        let since = Some(Timestamp { seconds: 40, nanos: 0 });
        let state = AdminStateResponse { state: Name::Abort.into(), halted: true, since };
        let view = plain(&state);
        assert!(view.contains("ABORT") && view.contains("(1m 0s ago)"), "{view}");
        assert!(view.contains("only `kittyctl resume`"), "{view}");
    }

    #[test]
    fn a_schedule_says_whether_something_starts_by_itself_and_what_is_due() {
        let platform = PlatformSchedule {
            platform_type: "ProcessPlatform".to_owned(),
            mean: Some(Duration::from_secs(4 * 3600).into()),
            probability: 0.2,
            times: vec![Timestamp { seconds: 90, nanos: 0 }],
            calendar: "NONSTOP".to_owned(),
            ..Default::default()
        };
        let schedule = Schedule {
            automated: true,
            backoff: Some(Duration::from_secs(900).into()),
            backoff_until: Some(Timestamp { seconds: 130, nanos: 0 }),
            platforms: vec![platform],
        };
        let view = plain(&schedule);
        for part in ["automated  on", "15m, over in 30s", "ProcessPlatform  4h", "10s ago", "NONSTOP"] {
            assert!(view.contains(part), "{part}: {view}");
        }
        assert!(plain(&Schedule::default()).contains("no experiment starts by itself"));
    }
}
