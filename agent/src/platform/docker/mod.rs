//! Docker containers as targets, over the Engine's socket.

mod discover;
mod handle;
mod health;
pub mod rules;

use std::{path::PathBuf, sync::Arc};

use super::{Owner, Platform, Publisher};
use handle::Engine;
use rules::Rule;

/// Offers the containers of an Engine that match a rule.
#[derive(Debug)]
pub struct DockerPlatform {
    owner: Owner,
    rules: Arc<[Rule]>,
    socket: PathBuf,
}

impl DockerPlatform {
    /// The Engine behind `socket`; a container that matches several rules belongs to the first.
    pub fn new(owner: Owner, rules: Vec<Rule>, socket: PathBuf) -> Self {
        Self { owner, rules: rules.into(), socket }
    }

    /// Looks once whether the Engine answers, and how many containers it offers.
    ///
    /// # Errors
    /// Why its containers can not be seen.
    pub async fn probe(&self) -> Result<String, String> {
        let engine = Arc::new(Engine::connect(&self.socket).await?);
        let version = engine.version().await?;
        let mut watch = discover::Watch::new(self.owner.clone(), self.rules.clone(), engine);
        watch.look_at_all().await?;
        match watch.problem() {
            Some(problem) => Err(problem),
            None => Ok(format!("{version}, containers offered: {}", watch.targets().count())),
        }
    }
}

impl Platform for DockerPlatform {
    const TYPE: &'static str = "DockerPlatform";

    async fn watch(self, publisher: Publisher) {
        discover::watch(self.owner, self.rules, &self.socket, publisher).await;
    }
}
