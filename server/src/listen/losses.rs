//! Connections that were turned away, by cause.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Losses {
    pub(super) accept: Counter,
    pub(super) over_limit: Counter,
    pub(super) silent: Counter,
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
    /// Each counter by its name in `Status.losses`.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        [
            ("connections_not_accepted", self.accept.get()),
            ("connections_over_limit", self.over_limit.get()),
            ("connections_silent", self.silent.get()),
            ("tls_handshakes_failed", self.handshake.get()),
        ]
    }
}
