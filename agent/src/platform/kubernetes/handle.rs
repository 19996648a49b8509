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

#[cfg(test)]
mod tests {
    use chaos_kitty::{
        Code,
        v1::{self, action::Kind},
    };

    use super::*;
    use crate::{
        action::{Scripts, fault_for},
        platform::{Platform as _, Subject, kubernetes::KubernetesPlatform},
    };

    #[tokio::test]
    async fn a_pod_whose_processes_are_elsewhere_is_never_taken_for_the_host() {
        let cluster = Arc::new(Cluster::nowhere());
        let [namespace, name, uid] = ["shop", "till", "1f"].map(str::to_owned);
        let pod = PodHandle { cluster, namespace, name, uid, workload: None };
        let target =
            v1::Target { platform_type: KubernetesPlatform::TYPE.to_owned(), ..v1::Target::default() };
        let elsewhere = Subject { target, pod: Some(Arc::new(pod)), ..Subject::default() };
        let duration = Some(std::time::Duration::from_secs(1).into());
        for kind in [
            Kind::Cpu(v1::SpinCpu::default()),
            Kind::Memory(v1::AllocateMemory { size_bytes: 1 }),
            Kind::Script(v1::RunScript::default()),
            Kind::Delay(v1::Delay::default()),
            Kind::Kill(v1::Kill::default()),
        ] {
            let name = kind.name();
            let fault =
                fault_for(&v1::Action { duration, kind: Some(kind) }, &elsewhere, &Scripts::default());
            let Err(problem) = fault else { panic!("{name:?} would hurt the host") };
            assert_eq!(problem.code, Code::Unsupported, "{name:?}");
            assert!(problem.message.contains("not here"), "{problem}");
        }
        let evict = Kind::Kill(v1::Kill { evict: true, ..v1::Kill::default() });
        let action = v1::Action { duration: None, kind: Some(evict) };
        assert!(fault_for(&action, &elsewhere, &Scripts::default()).is_ok(), "the API does it");
    }
}
