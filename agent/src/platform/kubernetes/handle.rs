//! The way to the API server, and to one pod through it.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use chaos_kitty::{Code, Problem, signal::Signal};
use chaos_kitty_guard::{Process, Undo};
use futures_util::{
    future::FutureExt,
    stream::{BoxStream, StreamExt},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, ObjectList, Preconditions, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::timeout;

use super::health;
use crate::platform::supervisor::{Answer, Standing, Stopping, Supervisor};

/// Longest wait for an answer of the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster.
pub(super) struct Cluster {
    client: Client,
    address: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads how the cluster is reached. Nothing is asked of it yet.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) async fn connect(kubeconfig: Option<&Path>) -> Result<Self, String> {
        let mut config = match kubeconfig {
            None => Config::infer().await.map_err(|error| {
                format!("{error}: run the agent in the cluster, or name a file with --kubeconfig")
            })?,
            Some(path) => {
                let unusable = |error| format!("{}: {error}", path.display());
                let file = Kubeconfig::read_from(path).map_err(unusable)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?
            }
        };
        config.connect_timeout = Some(PATIENCE);
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| format!("{address}: {error}"))?;
        Ok(Self { client, address })
    }

    /// The API server's version, e.g. "v1.20.2".
    pub(super) async fn version(&self) -> Result<String, String> {
        let version = self.asked(self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }

    /// All pods that may be seen, and the version from which their changes follow.
    pub(super) async fn pods(&self) -> Result<ObjectList<Pod>, String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        self.asked(pods.list(&ListParams::default())).await
    }

    /// What happens to pods from a version on, until the API server ends the stream, as it does now and then.
    pub(super) async fn changes(
        &self,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Pod>, String>>, String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let address = self.address.clone();
        let changes = self.asked(pods.watch(&WatchParams::default(), version)).await?;
        Ok(changes.map(move |event| event.map_err(|error| broken(&address, &error))).boxed())
    }

    fn pods_of(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn asked<T>(&self, asking: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        match timeout(PATIENCE, asking).await {
            Ok(answer) => answer.map_err(|error| broken(&self.address, &error)),
            Err(_) => Err(format!("{}: it did not answer within {PATIENCE:?}", self.address)),
        }
    }
}

/// Why the API server does not answer.
fn broken(address: &str, error: &kube::Error) -> String {
    let hint = match error {
        kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
            "give the agent's account the rights in packaging/kubernetes/"
        }
        _ => "look whether the API server runs, and into its log",
    };
    format!("{address}: {error}: {hint}")
}

/// One pod, in this life.
#[derive(Debug)]
pub(super) struct PodHandle {
    pub(super) cluster: Arc<Cluster>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) main: Process,
}

impl PodHandle {
    async fn asked<T>(
        &self,
        what: &str,
        asking: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Problem> {
        let what = format!("{what} pod {}/{}", self.namespace, self.name);
        match timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refused(&what, &self.cluster.address, &error)),
            Err(_) => Err(Problem::new(Code::NoAnswer, format!("{what}: no answer within {PATIENCE:?}"))
                .hint("look whether the API server runs, and into its log")),
        }
    }

    /// The pod of that name, if it is still this one.
    async fn now(&self) -> Result<Option<Pod>, Problem> {
        let pods = self.cluster.pods_of(&self.namespace);
        let pod = self.asked("looking at", pods.get_opt(&self.name)).await?;
        Ok(pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&self.uid)))
    }

    /// Only this one: not another that bears its name by now (as those of a StatefulSet do).
    async fn delete(&self, signal: Signal) -> Result<(), Problem> {
        let this_one = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let how = match signal.name {
            "KILL" => DeleteParams::default().grace_period(0),
            "TERM" => DeleteParams::default(),
            other => {
                let what = format!("a pod can not be deleted by {other}");
                return Err(Problem::invalid("action.kill.signal", what).hint(
                    "TERM deletes it with its own grace period, KILL with none; leave through_runtime out for others",
                ));
            }
        };
        let pods = self.cluster.pods_of(&self.namespace);
        self.asked("deleting", pods.delete(&self.name, &how.preconditions(this_one))).await.map(drop)
    }

    fn unsupported(&self, what: &str) -> Problem {
        Problem::new(Code::Unsupported, format!("pod {}/{} can not be {what}", self.namespace, self.name))
            .hint("a pod is deleted (kill through its runtime), and its owner makes another one")
    }
}

/// What the API server answered, as a problem.
fn refused(what: &str, address: &str, error: &kube::Error) -> Problem {
    let message = format!("{what}: {error}");
    match error {
        kube::Error::Api(status) if status.code == 404 => Problem::new(Code::TargetGone, message),
        kube::Error::Api(status) if status.code == 409 => {
            Problem::new(Code::Recycled, message).hint("look at the targets again, and choose anew")
        }
        kube::Error::Api(_) => Problem::new(Code::SupervisorRefused, message)
            .hint("give the agent's account the rights in packaging/kubernetes/"),
        _ => Problem::new(Code::NoAnswer, message)
            .hint(format!("look whether the API server at {address} runs, and into its log")),
    }
}

impl Supervisor for PodHandle {
    fn kill(&self, signal: Signal, _all: bool) -> Answer<'_, ()> {
        self.delete(signal).boxed()
    }

    fn restart(&self) -> Answer<'_, ()> {
        async { Err(self.unsupported("restarted")) }.boxed()
    }

    fn stop(&self, _kill: bool) -> Answer<'_, ()> {
        async { Err(self.unsupported("stopped")) }.boxed()
    }

    fn undo_stop(&self, _: Stopping) -> Result<Undo, Problem> {
        Err(self.unsupported("stopped"))
    }

    fn look(&self) -> Answer<'_, Standing> {
        async {
            let pod = self.now().await?;
            let runs = pod.is_some() && !self.main.has_ended();
            let state = pod.as_ref().map_or_else(|| "gone".to_owned(), health::words);
            Ok(Standing { state, main: runs.then_some(self.main) })
        }
        .boxed()
    }
}
