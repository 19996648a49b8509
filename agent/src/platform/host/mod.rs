//! The agent's own host as a target.

mod discover;

use super::{Owner, Platform, Publisher};

/// Offers the host that the agent runs on.
#[derive(Debug)]
pub struct HostPlatform {
    owner: Owner,
}

impl HostPlatform {
    /// The host of `owner`; its group is the owner's label `group`.
    pub fn new(owner: Owner) -> Self {
        Self { owner }
    }
}

impl Platform for HostPlatform {
    const TYPE: &'static str = "HostPlatform";

    /// A host does not change while it runs: it is published once.
    async fn watch(self, publisher: Publisher) {
        publisher.replace(vec![discover::host(&self.owner, &discover::Facts::read())]);
    }
}
