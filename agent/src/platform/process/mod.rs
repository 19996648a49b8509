//! Processes as targets, by configured rules.

pub mod discover;
mod events;
mod flag;
pub mod rules;
mod scan;

use std::sync::Arc;

use super::{Owner, Platform, Publisher};
use rules::Rule;

/// Offers the processes of this host that match a rule.
#[derive(Debug)]
pub struct ProcessPlatform {
    owner: Owner,
    rules: Arc<[Rule]>,
}

impl ProcessPlatform {
    /// What matches one of `rules`; a process that matches several belongs to the first.
    pub fn new(owner: Owner, rules: Vec<Rule>) -> Self {
        Self { owner, rules: rules.into() }
    }
}

impl Platform for ProcessPlatform {
    const TYPE: &'static str = "ProcessPlatform";

    async fn watch(self, publisher: Publisher) {
        discover::watch(self.owner, self.rules, publisher).await;
    }
}
