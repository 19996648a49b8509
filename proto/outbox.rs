//! Reports on their way to the server: numbered, kept until the server has taken them in, sent again after a
//! reconnect. Pure.

use std::collections::VecDeque;

use prost::Message;

use crate::v1::ActionReport;

/// Reports kept for a server that does not take them in.
pub const CAPACITY: usize = 10_000;

/// Their bytes on the wire.
const BYTES: usize = 8 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    last: u64,
    /// Not taken in yet, in the order of their numbers.
    kept: VecDeque<ActionReport>,
    bytes: usize,
    lost: u64,
}

impl Outbox {
    /// Numbers a report and keeps it. Over [`CAPACITY`], or 8 MiB, the oldest are lost and counted.
    pub fn push(&mut self, mut report: ActionReport) -> ActionReport {
        self.last += 1;
        report.sequence = self.last;
        self.bytes += report.encoded_len();
        self.kept.push_back(report.clone());
        while self.kept.len() > CAPACITY || self.bytes > BYTES {
            self.drop_first();
            self.lost += 1;
        }
        report
    }

    fn drop_first(&mut self) {
        self.bytes -= self.kept.pop_front().map_or(0, |report| report.encoded_len());
    }

    /// The server has taken in all up to this number.
    pub fn taken(&mut self, sequence: u64) {
        while self.kept.front().is_some_and(|report| report.sequence <= sequence) {
            self.drop_first();
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

    #[test]
    fn large_reports_are_lost_long_before_there_are_many() {
        let mut outbox = Outbox::default();
        let large = || ActionReport { target_id: "x".repeat(1 << 20), ..ActionReport::default() };
        for _ in 0..10 {
            outbox.push(large());
        }
        assert_eq!((outbox.lost(), outbox.kept().count()), (3, 7));
        outbox.taken(10);
        for _ in 0..7 {
            outbox.push(large());
        }
        assert_eq!(outbox.lost(), 3, "what was taken made room");
    }
}
