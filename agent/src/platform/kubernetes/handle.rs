//! One pod, through the API.

use std::sync::Arc;

use chaos_kitty::Problem;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, EvictParams, Preconditions},
};

use super::{cluster::Cluster, health, workload::Workload};

/// One pod, in this life: what is asked of it is not done to another that bears its name by now, as those of a
/// StatefulSet do.
#[derive(Debug)]
pub struct PodHandle {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Who makes it, if that is something with a number of replicas.
    pub(super) workload: Option<Workload>,
}

impl PodHandle {
    /// Deletes it: with its own grace period, or with none.
    pub async fn delete(&self, at_once: bool) -> Result<(), Problem> {
        let pods = self.pods();
        self.asked("deleting", pods.delete(&self.name, &self.this_one(at_once))).await.map(drop)
    }

    /// Evicts it, as a drain of its node does.
    pub async fn evict(&self) -> Result<(), Problem> {
        let pods = self.pods();
        let how = EvictParams { delete_options: Some(self.this_one(false)), ..EvictParams::default() };
        self.asked("evicting", pods.evict(&self.name, &how)).await.map(drop)
    }

    /// How it is, in words; `None`: it is gone.
    pub async fn look(&self) -> Result<Option<String>, Problem> {
        let pods = self.pods();
        let pod = self.asked("looking at", pods.get_opt(&self.name)).await?;
        let pod = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&self.uid));
        Ok(pod.as_ref().map(health::words))
    }

    /// Who makes it, if that is something with a number of replicas.
    pub const fn workload(&self) -> Option<&Workload> {
        self.workload.as_ref()
    }

    fn this_one(&self, at_once: bool) -> DeleteParams {
        let uid = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let how = if at_once { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        how.preconditions(uid)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    async fn asked<T>(
        &self,
        what: &str,
        asking: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Problem> {
        let what = format!("{what} pod {}/{}", self.namespace, self.name);
        self.cluster.asked(&what, asking).await
    }
}
