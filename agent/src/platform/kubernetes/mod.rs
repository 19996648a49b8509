//! The pods of this agent's node as targets, over the Kubernetes API.

mod cluster;
mod discover;
pub mod handle;
mod health;
pub(crate) mod restore;
pub mod rules;
pub mod workload;

use std::{path::PathBuf, sync::Arc};

use super::{Owner, Platform, Publisher};
use cluster::Cluster;
use rules::Rule;

/// Which cluster, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How it is reached. Unset: by `$KUBECONFIG`, `~/.kube/config`, else the one that the agent itself runs in.
    pub kubeconfig: Option<PathBuf>,
    /// The only node whose pods are looked at. Unset: those of all nodes are.
    pub node: Option<String>,
}

/// Offers the pods of a cluster that match a rule and whose processes are of this host.
#[derive(Debug)]
pub struct KubernetesPlatform {
    owner: Owner,
    rules: Arc<[Rule]>,
    settings: Settings,
}

impl KubernetesPlatform {
    /// A pod that matches several rules belongs to the first.
    pub fn new(owner: Owner, rules: Vec<Rule>, settings: Settings) -> Self {
        Self { owner, rules: rules.into(), settings }
    }

    /// Looks once whether the API server answers, and how many pods it offers.
    ///
    /// # Errors
    /// Why its pods can not be seen.
    pub async fn probe(&self) -> Result<String, String> {
        let cluster = Arc::new(Cluster::connect(&self.settings).await?);
        let version = cluster.version().await?;
        let mut watch = discover::Watch::new(self.owner.clone(), self.rules.clone(), cluster);
        watch.look_at_all().await?;
        Ok(format!("Kubernetes {version}, pods offered: {}", watch.targets().count()))
    }
}

impl Platform for KubernetesPlatform {
    const TYPE: &'static str = "KubernetesPlatform";

    async fn watch(self, publisher: Publisher) {
        discover::watch(self.owner, self.rules, &self.settings, publisher).await;
    }
}
