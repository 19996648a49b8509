//! Entries of a node's messages: one that is over its bounds is left out, so that the others are not lost with it.

use prost::{Message, Name};

use super::check;
use crate::{
    Problem, Timestamp,
    v1::{ActionReport, AgentMessage, agent_message::Kind},
};

/// What was left out of a message.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// How many entries, or parts of entries.
    pub count: u64,
    /// What was wrong with the first.
    pub first: Option<Problem>,
}

impl LeftOut {
    fn add(&mut self, why: Problem) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert(why);
    }

    /// Keeps those that are within their bounds.
    fn sound<M: Message + Name>(&mut self, entries: &mut Vec<M>) {
        entries.retain(|entry| check(entry).map_err(|why| self.add(why)).is_ok());
    }

    /// What became of an action is not to be lost with what was said of it.
    fn reports(&mut self, reports: &mut Vec<ActionReport>) {
        for report in reports.iter_mut() {
            if let Err(why) = check(report) {
                mend(report);
                self.add(why);
            }
        }
        reports.retain(|report| check(report).is_ok());
    }
}

/// Leaves out of a node's message the entries that are over their bounds. The rest is still to be [`check`]ed.
pub fn sift(message: &mut AgentMessage) -> LeftOut {
    let mut left_out = LeftOut::default();
    match &mut message.kind {
        Some(Kind::Targets(changed)) => {
            left_out.sound(&mut changed.upserted);
            left_out.sound(&mut changed.problems);
        }
        Some(Kind::Reports(news)) => left_out.reports(&mut news.reports),
        Some(Kind::Hello(hello)) => {
            left_out.reports(&mut hello.held);
            left_out.sound(&mut hello.platform_problems);
        }
        _ => {}
    }
    left_out
}

/// Takes away what is over its bounds, and leaves state, reason and numbers.
fn mend(report: &mut ActionReport) {
    report.evidence.retain(|seen| check(seen).is_ok());
    report.result.take_if(|result| check(result).is_err());
    report.action.take_if(|action| check(action).is_err());
    report.problem.take_if(|problem| check(problem).is_err());
    if report.at.is_some_and(|at| !at.is_sane()) {
        report.at = Some(Timestamp::now());
    }
    if check(report).is_err() {
        report.remaining = None;
        report.evidence.clear();
    }
}
