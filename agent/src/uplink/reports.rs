//! Reports of actions on their way up: numbered, kept until the server has taken them in, sent in batches.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chaos_kitty::{
    limits,
    outbox::Outbox,
    v1::{ActionReport, ActionReports},
};
use prost::Message;
use tokio::sync::{Notify, mpsc};

/// Reports and bytes in one message.
const BATCH: usize = 256;
const BATCH_BYTES: usize = limits::MESSAGE_BYTES / 4;

/// The outbox, and a bell for whoever sends from it.
#[derive(Default)]
pub(crate) struct Reports {
    outbox: Mutex<Outbox>,
    bell: Notify,
}

impl Reports {
    /// Collects what the executor reports, whether a server listens or not. Ends with the executor.
    pub(crate) async fn collect(&self, mut source: mpsc::Receiver<ActionReport>) {
        let mut news = Vec::new();
        while source.recv_many(&mut news, BATCH).await > 0 {
            news.drain(..).for_each(|report| self.push(report));
        }
    }

    /// Takes one in.
    pub(crate) fn push(&self, report: ActionReport) {
        let mut outbox = self.outbox();
        let lost = outbox.lost();
        outbox.push(report);
        if outbox.lost() > lost && lost.is_multiple_of(1000) {
            tracing::warn!(lost = outbox.lost(), "reports are lost: the server takes none in");
        }
        drop(outbox);
        self.bell.notify_one();
    }

    /// The server has taken in all up to this number.
    pub(crate) fn taken(&self, sequence: u64) {
        self.outbox().taken(sequence);
    }

    /// The server has taken in everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.outbox().kept().next().is_none()
    }

    /// The next message after that number; `None` when all has been sent.
    pub(crate) fn batch_after(&self, sent: u64) -> Option<ActionReports> {
        let mut bytes = 0;
        let outbox = self.outbox();
        let unsent = outbox.kept().skip_while(|report| report.sequence <= sent);
        let fits = |report: &&ActionReport| {
            let before = bytes;
            bytes += report.encoded_len();
            before < BATCH_BYTES
        };
        let reports: Vec<_> = unsent.take(BATCH).take_while(fits).cloned().collect();
        (!reports.is_empty()).then_some(ActionReports { reports })
    }

    /// Waits until there may be something new.
    pub(crate) async fn news(&self) {
        self.bell.notified().await;
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(action_id: String) -> ActionReport {
        ActionReport { action_id, ..ActionReport::default() }
    }

    #[test]
    fn batches_follow_one_another_without_gap_and_stay_small() {
        let reports = Reports::default();
        (0..1000).for_each(|n| reports.push(report(format!("{n:010000}"))));
        let (mut sent, mut seen) = (0, Vec::new());
        while let Some(batch) = reports.batch_after(sent) {
            assert!(batch.encoded_len() < limits::MESSAGE_BYTES && batch.reports.len() <= BATCH);
            seen.extend(batch.reports.iter().map(|report| report.sequence));
            sent = *seen.last().unwrap();
        }
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_taken_in_is_not_sent_again() {
        let reports = Reports::default();
        (0..3).for_each(|n| reports.push(report(n.to_string())));
        reports.taken(2);
        let left = reports.batch_after(0).unwrap();
        assert_eq!(left.reports.iter().map(|report| report.sequence).collect::<Vec<_>>(), [3]);
        reports.taken(3);
        assert!(reports.is_empty() && reports.batch_after(0).is_none());
    }
}
