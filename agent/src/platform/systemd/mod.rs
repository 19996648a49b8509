//! Services of systemd as targets, over D-Bus.

mod discover;
mod handle;
mod health;
pub mod rules;

use std::sync::Arc;

use super::{Owner, Platform, Publisher};
use handle::Manager;
use rules::Rule;

/// Offers the services of this host's systemd that match a rule.
#[derive(Debug)]
pub struct SystemdPlatform {
    owner: Owner,
    rules: Arc<[Rule]>,
}

impl SystemdPlatform {
    /// What matches one of `rules`; a service that matches several belongs to the first.
    pub fn new(owner: Owner, rules: Vec<Rule>) -> Self {
        Self { owner, rules: rules.into() }
    }

    /// Looks once whether systemd answers, and how many services it offers.
    ///
    /// # Errors
    /// Why its services can not be seen.
    pub async fn probe(&self) -> Result<String, String> {
        let manager = Manager::connect().await?;
        let version = manager.version().await?;
        let mut watch = discover::Watch::new(self.owner.clone(), self.rules.clone(), manager);
        watch.look_at_all().await?;
        Ok(format!("systemd {version}, services offered: {}", watch.targets().count()))
    }
}

impl Platform for SystemdPlatform {
    const TYPE: &'static str = "SystemdPlatform";

    async fn watch(self, publisher: Publisher) {
        discover::watch(self.owner, self.rules, publisher).await;
    }
}
