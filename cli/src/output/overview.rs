//! What goes on in the control plane, on one screen.

use std::{collections::VecDeque, time::SystemTime};

use chaos_kitty::v1::{Event, Experiment, Status};
use serde::Serialize;

use super::{
    Tone, View,
    status::render_event,
    table::render,
    text::{printable, time},
};

/// Lines that are kept for events, however much else there is.
const EVENT_LINES: usize = 5;

/// What goes on in the control plane.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Overview {
    pub(crate) status: Status,
    /// Those that are not over.
    pub(crate) experiments: Vec<Experiment>,
    /// The newest, newest first.
    pub(crate) events: VecDeque<Event>,
    /// Why it is not up to date. Empty: it is.
    #[serde(skip)]
    pub(crate) trouble: String,
}

impl Overview {
    /// As many lines as a screen has: of the events as many as the rest leaves room for.
    pub(crate) fn frame(&self, now: SystemTime, rows: usize) -> String {
        let head = self.head(now);
        let head: Vec<&str> = head.lines().collect();
        let room = rows.saturating_sub(1);
        let kept = head.len().min(room.saturating_sub(EVENT_LINES));
        let mut lines: Vec<String> = head[..kept].iter().map(|line| (*line).to_owned()).collect();
        lines.extend(self.event_lines(room.saturating_sub(kept)));
        lines.resize(room, String::new());
        lines.push(self.footer(now));
        lines.join("\n")
    }

    fn head(&self, now: SystemTime) -> String {
        let mut text = self.status.view(now);
        if !self.experiments.is_empty() {
            text.push('\n');
            text.push_str(&render(&self.experiments, now));
        }
        text
    }

    /// At most so many lines, the first two of which set the events apart.
    fn event_lines(&self, most: usize) -> Vec<String> {
        if self.events.is_empty() {
            return Vec::new();
        }
        let dim = Tone::Dim.style();
        let head = [String::new(), format!("{dim}NEWEST EVENTS{dim:#}")];
        let events = self.events.iter().map(|event| render_event(event).trim_end().to_owned());
        head.into_iter().chain(events).take(most).collect()
    }

    fn footer(&self, now: SystemTime) -> String {
        if self.trouble.is_empty() {
            let dim = Tone::Dim.style();
            return format!("{dim}{}, q quits{dim:#}", time(Some(&now.into())));
        }
        let bad = Tone::Bad.style();
        format!("{bad}not up to date: {}; q quits{bad:#}", printable(&self.trouble))
    }
}

impl View for Overview {
    fn view(&self, now: SystemTime) -> String {
        let events = self.event_lines(usize::MAX).into_iter().map(|line| format!("{line}\n"));
        self.head(now) + &events.collect::<String>()
    }

    fn name(&self) -> String {
        self.status.server_id.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview(experiments: usize, events: u64) -> Overview {
        let experiment = |number| Experiment { id: format!("e-{number}"), ..Default::default() };
        let event = |number| Event { message: format!("event {number}"), ..Default::default() };
        Overview {
            experiments: (0..experiments).map(experiment).collect(),
            events: (0..events).rev().map(event).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_frame_has_exactly_the_lines_of_its_screen() {
        for rows in [1, 2, 10, 24, 200] {
            for overview in [overview(0, 0), overview(3, 3), overview(500, 500)] {
                let frame = overview.frame(SystemTime::now(), rows);
                assert_eq!(frame.split('\n').count(), rows, "{frame}");
                assert!(frame.ends_with("q quits\u{1b}[0m"), "{frame:?}");
            }
        }
    }

    #[test]
    fn many_experiments_leave_room_for_the_newest_events() {
        let frame = overview(500, 500).frame(SystemTime::now(), 24);
        assert!(frame.contains("e-0") && frame.contains("event 499"), "{frame}");
        assert!(!frame.contains("event 400"), "{frame}");
    }

    #[test]
    fn what_is_not_up_to_date_says_so() {
        let old = Overview { trouble: "the server is gone".to_owned(), ..overview(0, 0) };
        assert!(old.frame(SystemTime::now(), 10).contains("not up to date: the server is gone"));
    }
}
