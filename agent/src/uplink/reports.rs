//! Reports of actions on their way up: numbered, kept until the server has taken them in, sent in batches.

use std::{
    future::poll_fn,
    sync::{Mutex, MutexGuard, PoisonError},
};

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

/// What the executor reports, the outbox, and a bell for whoever sends from it.
pub(crate) struct Reports {
    source: Mutex<mpsc::Receiver<ActionReport>>,
    outbox: Mutex<Outbox>,
    bell: Notify,
}

impl Reports {
    /// Of that executor.
    pub(crate) fn new(source: mpsc::Receiver<ActionReport>) -> Self {
        Self { source: Mutex::new(source), outbox: Mutex::default(), bell: Notify::new() }
    }

    /// Collects what the executor reports, whether a server listens or not. Ends with the executor.
    pub(crate) async fn collect(&self) {
        let mut news = Vec::new();
        while poll_fn(|context| lock(&self.source).poll_recv_many(context, &mut news, BATCH)).await > 0 {
            news.drain(..).for_each(|report| self.push(report));
        }
    }

    /// Collects all that was reported up to now.
    pub(super) fn catch_up(&self) {
        while let Ok(report) = lock(&self.source).try_recv() {
            self.push(report);
        }
    }

    fn push(&self, report: ActionReport) {
        let mut outbox = lock(&self.outbox);
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
        lock(&self.outbox).taken(sequence);
    }

    /// The server has taken in everything that was reported up to now.
    pub(crate) fn is_empty(&self) -> bool {
        self.catch_up();
        lock(&self.outbox).kept().next().is_none()
    }

    /// The next message after that number; `None` when all has been sent.
    pub(crate) fn batch_after(&self, sent: u64) -> Option<ActionReports> {
        let mut bytes = 0;
        let outbox = lock(&self.outbox);
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(count: usize, text: &str) -> (Reports, mpsc::Sender<ActionReport>) {
        let (sender, source) = mpsc::channel(count);
        for _ in 0..count {
            sender.try_send(ActionReport { action_id: text.to_owned(), ..ActionReport::default() }).unwrap();
        }
        (Reports::new(source), sender)
    }

    fn numbers(batch: &ActionReports) -> Vec<u64> {
        batch.reports.iter().map(|report| report.sequence).collect()
    }

    #[test]
    fn batches_follow_one_another_without_gap_and_stay_small() {
        let (reports, _executor) = reported(1000, &"x".repeat(5_000));
        reports.catch_up();
        let (mut sent, mut seen) = (0, Vec::new());
        while let Some(batch) = reports.batch_after(sent) {
            assert!(batch.encoded_len() < limits::MESSAGE_BYTES && batch.reports.len() <= BATCH);
            seen.extend(numbers(&batch));
            sent = *seen.last().unwrap();
        }
        assert_eq!(seen, (1..=1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_taken_in_is_not_sent_again() {
        let (reports, executor) = reported(3, "a");
        drop(executor);
        reports.collect().await;
        reports.taken(2);
        assert_eq!(numbers(&reports.batch_after(0).unwrap()), [3]);
        reports.taken(3);
        assert!(reports.is_empty() && reports.batch_after(0).is_none());
    }
}
