//! Reports on their way to the server: numbered, kept until the server has taken them in, sent again after a
//! reconnect. Pure.

use std::collections::VecDeque;

use crate::v1::ActionReport;

/// Reports kept for a server that does not take them in.
pub const CAPACITY: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    last: u64,
    /// Not taken in yet, in the order of their numbers.
    kept: VecDeque<ActionReport>,
    lost: u64,
}

impl Outbox {
    /// Numbers a report and keeps it. Over [`CAPACITY`] the oldest is lost and counted.
    pub fn push(&mut self, mut report: ActionReport) -> ActionReport {
        self.last += 1;
        report.sequence = self.last;
        if self.kept.len() == CAPACITY {
            self.kept.pop_front();
            self.lost += 1;
        }
        self.kept.push_back(report.clone());
        report
    }

    /// The server has taken in all up to this number.
    pub fn taken(&mut self, sequence: u64) {
        while self.kept.front().is_some_and(|report| report.sequence <= sequence) {
            self.kept.pop_front();
        }
    }

    /// What the server has not taken in, oldest first: for `Hello.held`.
    pub fn kept(&self) -> impl Iterator<Item = &ActionReport> {
        self.kept.iter()
    }

    /// Reports lost for want of room.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_numbered_from_one_and_kept_until_they_are_taken() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(ActionReport::default());
        }
        outbox.taken(2);
        assert_eq!(outbox.kept().map(|report| report.sequence).collect::<Vec<_>>(), [3]);
        outbox.taken(1);
        assert_eq!(outbox.kept().count(), 1);
    }

    #[test]
    fn a_full_outbox_loses_the_oldest_and_counts_it() {
        let mut outbox = Outbox::default();
        for _ in 0..=CAPACITY {
            outbox.push(ActionReport::default());
        }
        assert_eq!((outbox.lost(), outbox.kept().count()), (1, CAPACITY));
        assert_eq!(outbox.kept().next().map(|report| report.sequence), Some(2));
    }
}
