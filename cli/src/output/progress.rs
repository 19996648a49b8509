//! What goes on while actions or experiments run: a bar for each on a terminal, a line for each change
//! otherwise. Talk, so it all goes to standard error.

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
    text::{lines, printable, std},
};

/// What goes from state to state until it is over.
pub(crate) trait Course {
    fn id(&self) -> &str;
    /// Where it is: another word than the last one is told.
    fn step(&self) -> String;
    /// What is done to its target is in force.
    fn is_in_force(&self) -> bool;
    /// Nothing more is heard of it.
    fn is_over(&self) -> bool;
    /// How long it is in force at the most.
    fn length(&self) -> Duration;
    /// All that is to be said of it now, in one line.
    fn line(&self) -> String;
}

/// Shows how actions or experiments come along.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    shown: HashMap<String, Shown>,
}

#[derive(Debug)]
struct Shown {
    step: String,
    started: Option<Instant>,
    length: Duration,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(live: bool) -> Self {
        Self { bars: live.then(MultiProgress::new), shown: HashMap::new() }
    }

    /// Takes in what was heard of one.
    pub(crate) fn update(&mut self, news: &impl Course) {
        let shown =
            self.shown.entry(news.id().to_owned()).or_insert_with(|| Shown::of(news, self.bars.as_ref()));
        let step = news.step();
        let changed = shown.step != step;
        shown.step = step;
        if news.is_in_force() && shown.started.is_none() {
            shown.started = Some(Instant::now());
        }
        match &shown.bar {
            Some(bar) if news.is_over() => bar.finish_with_message(lines(&news.line()).into_owned()),
            Some(bar) => bar.set_message(lines(&news.line()).into_owned()),
            None if changed => {
                let _closed = writeln!(anstream::stderr(), "{}", lines(&news.line()));
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
                let held = started.elapsed().min(shown.length);
                bar.set_position(u64::try_from(held.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }

    /// Says something beside the bars.
    pub(crate) fn say(&self, text: &str) {
        let print = || {
            let _closed = writeln!(anstream::stderr(), "{}", lines(text));
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
    fn of(news: &impl Course, bars: Option<&MultiProgress>) -> Self {
        let millis = u64::try_from(news.length().as_millis()).unwrap_or(u64::MAX);
        let bar = bars.map(|bars| bars.add(ProgressBar::new(millis).with_style(style(millis))));
        Self { step: String::new(), started: None, length: news.length(), bar }
    }
}

/// What holds nothing has no length, so it gets no bar beside its line.
fn style(length: u64) -> ProgressStyle {
    let template = if length == 0 { "{wide_msg}" } else { "[{bar:24}] {wide_msg}" };
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Course for ActionStatus {
    fn id(&self) -> &str {
        &self.id
    }

    fn step(&self) -> String {
        self.state().as_str_name().to_owned()
    }

    fn is_in_force(&self) -> bool {
        self.state() == State::Started
    }

    fn is_over(&self) -> bool {
        matches!(self.state(), State::Reverted | State::Done | State::Failed | State::Refused | State::Stuck)
    }

    fn length(&self) -> Duration {
        let duration = self.action.as_ref().and_then(|action| action.duration.as_ref());
        duration.map(std).unwrap_or_default()
    }

    fn line(&self) -> String {
        let state = self.state();
        let style = tone_of(state).style();
        let name = state.as_str_name();
        let what = describe(self.action.as_ref());
        let mut line = format!("{style}{name}{style:#} {what} on {}", printable(target_of(self)));
        for detail in [end_of(self), figures(self.result.as_ref())] {
            if !detail.is_empty() {
                line.push_str(", ");
                line.push_str(&detail);
            }
        }
        line
    }
}
