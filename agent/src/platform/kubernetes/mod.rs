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
use cluster::{Cluster, Way};
use rules::Rule;

/// Offers the pods of a cluster that match a rule and whose processes are of this host.
#[derive(Debug)]
pub struct KubernetesPlatform {
    owner: Owner,
    rules: Arc<[Rule]>,
    kubeconfig: Option<PathBuf>,
}

impl KubernetesPlatform {
    /// The cluster of `kubeconfig`; without one that of `$KUBECONFIG`, of `~/.kube/config`, else the one that the agent
    /// itself runs in. A pod that matches several rules belongs to the first.
    pub fn new(owner: Owner, rules: Vec<Rule>, kubeconfig: Option<PathBuf>) -> Self {
        Self { owner, rules: rules.into(), kubeconfig }
    }

    /// Looks once whether the API server answers, and how many pods it offers.
    ///
    /// # Errors
    /// Why its pods can not be seen.
    pub async fn probe(&self) -> Result<String, String> {
        let cluster = Arc::new(Cluster::connect(Way::find(self.kubeconfig.as_deref())?).await?);
        let version = cluster.version().await?;
        let mut watch = discover::Watch::new(self.owner.clone(), self.rules.clone(), cluster);
        watch.look_at_all().await?;
        Ok(format!("Kubernetes {version}, pods offered: {}", watch.subjects().count()))
    }
}

impl Platform for KubernetesPlatform {
    const TYPE: &'static str = "KubernetesPlatform";

    async fn watch(self, publisher: Publisher) {
        discover::watch(self.owner, self.rules, self.kubeconfig.as_deref(), publisher).await;
    }
}
