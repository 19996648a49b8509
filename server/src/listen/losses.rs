//! Connections that were turned away, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Losses {
    pub(super) accept: Counter,
    pub(super) over_limit: Counter,
    pub(super) silent: Counter,
    pub(super) idle: Counter,
    pub(super) handshake: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Losses {
    /// Each counter that is not 0, by its name in `Status.losses`.
    pub fn all(&self) -> impl Iterator<Item = (String, u64)> {
        let counters = [
            ("connections_not_accepted", &self.accept),
            ("connections_over_limit", &self.over_limit),
            ("connections_silent", &self.silent),
            ("connections_idle", &self.idle),
            ("tls_handshakes_failed", &self.handshake),
        ];
        counters
            .into_iter()
            .map(|(name, counter)| (name.to_owned(), counter.get()))
            .filter(|(_, lost)| *lost > 0)
    }
}
