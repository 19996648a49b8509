//! What was lost or refused since the start, by name.

use crate::task::lock;
use std::{collections::BTreeMap, sync::Mutex};

/// Counters that begin at zero when they are first added to.
#[derive(Debug, Default)]
pub struct Losses(Mutex<BTreeMap<&'static str, u64>>);

impl Losses {
    /// Counts.
    pub(crate) fn add(&self, name: &'static str, count: u64) {
        if count > 0 {
            *lock(&self.0).entry(name).or_default() += count;
        }
    }

    /// All that are not zero.
    pub(crate) fn all(&self) -> BTreeMap<String, u64> {
        let counts = lock(&self.0);
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }
}
