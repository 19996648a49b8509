//! What goes on while actions run: a bar for each on a terminal, a line for each change otherwise. Talk, so it
//! all goes to standard error.

use std::{
    collections::HashMap,
    io::Write,
    time::{Duration, Instant},
};

use chaos_kitty::v1::{ActionStatus, action_state::Name as State};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    describe, figures,
    rows::{end_of, target_of, tone_of},
    text::{printable, std},
};

/// Shows how actions come along.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    shown: HashMap<String, Shown>,
}

#[derive(Debug)]
struct Shown {
    state: State,
    started: Option<Instant>,
    duration: Duration,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(live: bool) -> Self {
        Self { bars: live.then(MultiProgress::new), shown: HashMap::new() }
    }

    /// Takes in what was heard of an action.
    pub(crate) fn update(&mut self, status: &ActionStatus) {
        let shown =
            self.shown.entry(status.id.clone()).or_insert_with(|| Shown::of(status, self.bars.as_ref()));
        let state = status.state();
        let changed = shown.state != state;
        shown.state = state;
        if state == State::Started && shown.started.is_none() {
            shown.started = Some(Instant::now());
        }
        match &shown.bar {
            Some(bar) if is_over(state) => bar.finish_with_message(line(status)),
            Some(bar) => bar.set_message(line(status)),
            None if changed => {
                let _closed = writeln!(anstream::stderr(), "{}", line(status));
            }
            None => {}
        }
    }

    /// Moves the bars on with time.
    pub(crate) fn tick(&self) {
        for shown in self.shown.values() {
            if let (Some(bar), Some(started)) = (&shown.bar, shown.started)
                && !bar.is_finished()
            {
                let held = started.elapsed().min(shown.duration);
                bar.set_position(u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }

    /// Says something beside the bars.
    pub(crate) fn say(&self, text: &str) {
        let print = || {
            let _closed = writeln!(anstream::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Leaves the screen to what comes after: a table says it all again.
    pub(crate) fn end(&self) {
        if let Some(bars) = &self.bars {
            let _closed = bars.clear();
        }
    }
}

impl Shown {
    fn of(status: &ActionStatus, bars: Option<&MultiProgress>) -> Self {
        let duration = status.action.as_ref().and_then(|action| action.duration.as_ref());
        let duration = duration.map(std).unwrap_or_default();
        let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let bar = bars.map(|bars| bars.add(ProgressBar::new(length).with_style(style(length))));
        Self { state: State::Unspecified, started: None, duration, bar }
    }
}

/// What holds nothing has no length, so it gets no bar beside its line.
fn style(length: u64) -> ProgressStyle {
    let template = if length == 0 { "{wide_msg}" } else { "[{bar:24}] {wide_msg}" };
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

/// Whether nothing more is heard of an action in this state.
fn is_over(state: State) -> bool {
    matches!(state, State::Reverted | State::Done | State::Failed | State::Refused | State::Stuck)
}

fn line(status: &ActionStatus) -> String {
    let state = status.state();
    let style = tone_of(state).style();
    let name = state.as_str_name();
    let mut line = format!(
        "{style}{name}{style:#} {} on {}",
        describe(status.action.as_ref()),
        printable(target_of(status))
    );
    for detail in [end_of(status), figures(status.result.as_ref())] {
        if !detail.is_empty() {
            line.push_str(", ");
            line.push_str(&detail);
        }
    }
    line
}
