//! One pod, through the API.

use std::sync::Arc;

use chaos_kitty::{Code, Problem};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
    core::Status,
};
use serde_json::json;

use super::{
    cluster::Cluster,
    health,
    workload::{Kind, Workload},
};

/// One pod, in this life: what is asked of it is not done to another that bears its name by now, as those of a
/// StatefulSet do.
#[derive(Debug)]
pub struct PodHandle {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    /// Kind and name of what makes it, if that is something with a number of replicas.
    pub(super) workload: Option<(Kind, Box<str>)>,
    /// The kind of what makes it.
    pub(super) controller: Option<Box<str>>,
}

impl PodHandle {
    /// Deletes it: with its own grace period, or with none.
    pub async fn delete(&self, at_once: bool) -> Result<(), Problem> {
        let pods = self.pods();
        self.asked("deleting", pods.delete(&self.name, &self.this_one(at_once))).await.map(drop)
    }

    /// Evicts it, as a drain of its node does.
    pub async fn evict(&self) -> Result<(), Problem> {
        let (pods, how) = (self.pods(), PostParams::default());
        let evicted = pods.create_subresource::<Status>("eviction", &self.name, &how, self.eviction());
        self.asked("evicting", evicted).await.map(drop)
    }

    /// Refuses to delete what nothing makes anew, and what the API does not end.
    ///
    /// # Errors
    /// [`Code::NotCattle`], [`Code::Unsupported`].
    pub fn can_be_removed(&self) -> Result<(), Problem> {
        match self.controller.as_deref() {
            None => {
                let what = format!("pod {} would be gone for good: nothing makes another one", self.name);
                Err(Problem::new(Code::NotCattle, what)
                    .hint("name a pod of a Deployment or the like, or end its process by a signal"))
            }
            Some("Node") => {
                let what = format!("pod {} is of its node's own files: the API does not end it", self.name);
                Err(Problem::new(Code::Unsupported, what).hint("end its process by a signal"))
            }
            Some(_) => Ok(()),
        }
    }

    /// How it is, in words; `None`: it is gone.
    pub async fn look(&self) -> Result<Option<String>, Problem> {
        let pods = self.pods();
        let pod = self.asked("looking at", pods.get_opt(&self.name)).await?;
        let pod = pod.filter(|pod| pod.metadata.uid.as_deref() == Some(&*self.uid));
        Ok(pod.as_ref().map(health::words))
    }

    /// Who makes it, if that is something with a number of replicas.
    pub fn workload(&self) -> Option<Workload> {
        let (kind, name) = self.workload.clone()?;
        Some(Workload {
            cluster: self.cluster.clone(),
            kind,
            namespace: self.namespace.to_string(),
            name: name.into(),
        })
    }

    /// Not by `Api::evict`: kube 2.0 names the field `delete_options`, which an API server ignores, and then evicts
    /// whatever pod has the name. Without a version it is of the one that the server prefers.
    fn eviction(&self) -> Vec<u8> {
        let body = json!({"metadata": {"name": self.name}, "deleteOptions": self.this_one(false)});
        body.to_string().into_bytes()
    }

    fn this_one(&self, at_once: bool) -> DeleteParams {
        let uid = Preconditions { uid: Some(self.uid.to_string()), resource_version: None };
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
    use chaos_kitty::v1::{self, action::Kind};
    use http::{Request, Response};
    use kube::{Client, client::Body};
    use serde_json::Value;
    use tokio::sync::mpsc;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::{
        action::{Scripts, fault_for},
        platform::{Platform as _, Subject, kubernetes::KubernetesPlatform},
    };

    /// A pod in a cluster that always answers this, and the requests that it gets.
    fn till(status: u16, answer: Value) -> (PodHandle, mpsc::UnboundedReceiver<(String, Value)>) {
        let (requests, asked) = mpsc::unbounded_channel();
        let api = service_fn(move |request: Request<Body>| {
            let (requests, answer) = (requests.clone(), answer.to_string());
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await?;
                requests.send((path, serde_json::from_slice(&body)?))?;
                Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(answer.into_bytes()))?)
            }
        });
        let cluster = Arc::new(Cluster::simulated(Client::new(api, "default")));
        let [namespace, name, uid] = ["shop", "till-0", "1f"].map(Box::from);
        (PodHandle { cluster, namespace, name, uid, workload: None, controller: None }, asked)
    }

    /// As API servers answer, with what only newer ones say besides.
    fn failure(code: u16, reason: &str, message: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code,
            "reason": reason, "message": message,
            "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 1 healthy pods"}]},
        })
    }

    #[tokio::test]
    async fn an_eviction_is_of_this_life_of_the_pod_whatever_version_the_server_speaks() {
        let success = json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201});
        let (pod, mut asked) = till(201, success);
        pod.evict().await.unwrap();
        let (path, body) = asked.recv().await.unwrap();
        assert_eq!(path, "/api/v1/namespaces/shop/pods/till-0/eviction");
        assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "1f");
        assert_eq!(
            body.get("apiVersion"),
            None,
            "policy/v1 is unknown to old servers, policy/v1beta1 to new ones"
        );
        let (pod, mut asked) = till(200, json!({"kind": "Status", "status": "Success"}));
        pod.delete(true).await.unwrap();
        let (_, body) = asked.recv().await.unwrap();
        assert_eq!((&body["preconditions"]["uid"], &body["gracePeriodSeconds"]), (&json!("1f"), &json!(0)));
    }

    #[tokio::test]
    async fn a_pod_that_nothing_makes_anew_or_that_the_api_does_not_end_is_not_removed() {
        let (bare, _asked) = till(500, json!({}));
        assert_eq!(bare.can_be_removed().unwrap_err().code, Code::NotCattle);
        let of = |kind: &str| PodHandle { controller: Some(kind.into()), ..till(500, json!({})).0 };
        assert_eq!(of("Node").can_be_removed().unwrap_err().code, Code::Unsupported);
        assert_eq!(of("StatefulSet").can_be_removed(), Ok(()));
    }

    #[tokio::test]
    async fn what_the_server_refuses_is_told_with_its_reason() {
        for (status, reason, code, hint) in [
            (429, "TooManyRequests", Code::SupervisorRefused, "disruption budget"),
            (409, "Conflict", Code::Recycled, "choose anew"),
            (404, "NotFound", Code::TargetGone, ""),
            (403, "Forbidden", Code::SupervisorRefused, "rights"),
        ] {
            let (pod, _asked) = till(status, failure(status, reason, "not now"));
            let problem = pod.evict().await.unwrap_err();
            assert_eq!(problem.code, code, "{status}");
            assert!(problem.message.contains("evicting pod shop/till-0: not now"), "{problem}");
            assert!(problem.hint.contains(hint), "{problem}");
        }
    }

    #[tokio::test]
    async fn a_pod_whose_processes_are_elsewhere_is_never_taken_for_the_host() {
        let (pod, _) = till(500, json!({}));
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
