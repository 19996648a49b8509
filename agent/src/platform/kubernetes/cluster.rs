//! The way to an API server.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use chaos_kitty::{Code, Problem};
use futures_util::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{ListParams, ObjectList, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::time::timeout;

use super::Settings;

/// Longest wait for an answer of the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods in one answer, as kubectl asks for them (`--chunk-size`): what a pod says of itself is ten times what is kept of it.
const PAGE: u32 = 500;

/// Where a cluster puts what a pod's account needs,
/// <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How an API server is reached: words enough for a guard, which has no environment, to be told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As this file says. Absolute.
    Kubeconfig(PathBuf),
    /// At this address, as the account of the pod that this runs in.
    Account(String),
}

impl Way {
    /// The named file, else that of `$KUBECONFIG`, else `~/.kube/config`, else the cluster that this runs in.
    ///
    /// # Errors
    /// There is none of them.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, String> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let home =
            || set("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|file| file.is_file());
        let file = named.map(Path::to_owned).or_else(|| set("KUBECONFIG").map(PathBuf::from)).or_else(home);
        if let Some(file) = file {
            let absolute = std::path::absolute(&file);
            return absolute.map(Self::Kubeconfig).map_err(|error| format!("{}: {error}", file.display()));
        }
        match (env::var("KUBERNETES_SERVICE_HOST"), env::var("KUBERNETES_SERVICE_PORT")) {
            (Ok(host), Ok(port)) if host.contains(':') => {
                Ok(Self::Account(format!("https://[{host}]:{port}")))
            }
            (Ok(host), Ok(port)) => Ok(Self::Account(format!("https://{host}:{port}"))),
            _ => {
                Err("no cluster is known: run the agent in one, or name a file with --kubeconfig".to_owned())
            }
        }
    }

    /// As arguments of `kitty-agent restore-size`.
    pub(super) fn arguments(&self) -> [String; 2] {
        match self {
            Self::Kubeconfig(file) => ["--kubeconfig".to_owned(), file.to_string_lossy().into_owned()],
            Self::Account(server) => ["--api-server".to_owned(), server.clone()],
        }
    }

    fn read(&self) -> Result<Kubeconfig, String> {
        match self {
            Self::Kubeconfig(file) => {
                Kubeconfig::read_from(file).map_err(|error| format!("{}: {error}", file.display()))
            }
            Self::Account(server) => serde_json::from_value(json!({
                "clusters": [{
                    "name": "c",
                    "cluster": {"server": server, "certificate-authority": format!("{ACCOUNT}/ca.crt")},
                }],
                "users": [{"name": "u", "user": {"tokenFile": format!("{ACCOUNT}/token")}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }))
            .map_err(|error| format!("{server}: {error}")),
        }
    }
}

/// A cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) way: Way,
    address: String,
    /// Selects the pods of one node; `None`: all.
    fields: Option<String>,
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
    pub(super) async fn connect(settings: &Settings) -> Result<Self, String> {
        let fields = settings.node.as_ref().map(|node| format!("spec.nodeName={node}"));
        Ok(Self { fields, ..Self::by(Way::find(settings.kubeconfig.as_deref())?).await? })
    }

    /// The same, of a way that is known.
    pub(super) async fn by(way: Way) -> Result<Self, String> {
        let unusable = |error: &dyn fmt::Display| format!("{}: {error}", way.arguments()[1]);
        let config = Config::from_custom_kubeconfig(way.read()?, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| unusable(&error))?;
        config.connect_timeout = Some(PATIENCE);
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        Ok(Self { client, way, address, fields: None })
    }

    /// One whose answers a test gives. Needs a tokio runtime.
    #[cfg(test)]
    pub(super) fn simulated(client: Client) -> Self {
        let address = "http://simulated".to_owned();
        Self { client, way: Way::Account(address.clone()), address, fields: None }
    }

    /// What it is, e.g. "v1.20.2".
    pub(super) async fn version(&self) -> Result<String, String> {
        let version = self.seen(self.client.apiserver_version()).await?;
        Ok(version.git_version)
    }

    /// Some of the pods that may be seen: the first, or those after a page that says that there are more.
    pub(super) async fn pods(&self, after: Option<String>) -> Result<ObjectList<Pod>, String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let which = ListParams {
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            continue_token: after,
            ..ListParams::default()
        };
        self.seen(pods.list(&which)).await
    }

    /// What happens to pods from a version on, until the API server ends the stream, as it does now and then.
    pub(super) async fn changes(
        &self,
        version: &str,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Pod>, String>>, String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let address = self.address.clone();
        let which = WatchParams { field_selector: self.fields.clone(), ..WatchParams::default() };
        let changes = self.seen(pods.watch(&which, version)).await?;
        Ok(changes.map(move |event| event.map_err(|error| broken(&address, &error))).boxed())
    }

    async fn seen<T>(&self, asking: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        match timeout(PATIENCE, asking).await {
            Ok(answer) => answer.map_err(|error| broken(&self.address, &error)),
            Err(_) => Err(format!("{}: it did not answer within {PATIENCE:?}", self.address)),
        }
    }

    /// Has something done; `what` it is, for people.
    ///
    /// # Errors
    /// [`Code::TargetGone`], [`Code::Recycled`] when it has changed, [`Code::SupervisorRefused`], [`Code::NoAnswer`].
    pub(super) async fn asked<T>(
        &self,
        what: &str,
        asking: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Problem> {
        match timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refused(what, &self.address, &error)),
            Err(_) => Err(Problem::new(Code::NoAnswer, format!("{what}: no answer within {PATIENCE:?}"))
                .hint("look whether the API server runs, and into its log")),
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
    format!("{address}: {}: {hint}", said(error))
}

/// What the API server says, without the whole of its answer.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// What the API server answered, as a problem.
fn refused(what: &str, address: &str, error: &kube::Error) -> Problem {
    let message = format!("{what}: {}", said(error));
    match error {
        kube::Error::Api(status) if status.code == 404 => Problem::new(Code::TargetGone, message),
        kube::Error::Api(status) if status.code == 409 => {
            Problem::new(Code::Recycled, message).hint("look at the targets again, and choose anew")
        }
        // The one answer that an eviction has of its own.
        kube::Error::Api(status) if status.code == 429 => Problem::new(Code::SupervisorRefused, message)
            .hint("its disruption budget forbids it now: wait, or delete it instead"),
        kube::Error::Api(_) => Problem::new(Code::SupervisorRefused, message)
            .hint("give the agent's account the rights in packaging/kubernetes/"),
        _ => Problem::new(Code::NoAnswer, message)
            .hint(format!("look whether the API server at {address} runs, and into its log")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_comes_first_and_is_told_to_the_guard_with_its_whole_path() {
        let way = Way::find(Some(Path::new("some/config"))).unwrap();
        let [flag, file] = way.arguments();
        assert_eq!(flag, "--kubeconfig");
        assert!(Path::new(&file).is_absolute() && file.ends_with("/some/config"), "{file}");
    }

    #[test]
    fn the_account_of_a_pod_is_read_from_where_the_cluster_puts_it() {
        let config = Way::Account("https://10.96.0.1:443".to_owned()).read().unwrap();
        let user = config.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.token_file.as_deref(), Some("/var/run/secrets/kubernetes.io/serviceaccount/token"));
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://10.96.0.1:443"));
        assert!(cluster.certificate_authority.is_some());
    }
}
