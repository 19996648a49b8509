//! A namespace of a test's own on the cluster that `tests/beds/kubernetes` started, a server, and agents with the account
//! that `packaging/kubernetes` gives them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use chaos_kitty::v1;
use chaos_kitty_tests::{Agent, Finished, Sandbox, Server, eventually, http};
use serde_json::{Value, json};
use uuid::Uuid;

/// Times of experiments, besides the longest of a fault: everything waits for moments only.
const FLAGS: [&str; 6] =
    ["--experiment-tick", "100ms", "--self-healing-interval", "1s", "--finalization", "100ms"];

/// Ends at once when it is asked to.
const POLITE: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"];

/// The folder where the cluster runs.
pub(crate) fn cluster() -> PathBuf {
    let folder = env::var_os("KITTY_TEST_CLUSTER").expect("KITTY_TEST_CLUSTER: run tests/run --kubernetes");
    PathBuf::from(folder)
}

/// Its own namespace goes with it.
pub(crate) struct Bed {
    pub(crate) namespace: String,
    pub(crate) server: Server,
    pub(crate) sandbox: Sandbox,
    maximum: &'static str,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self::whose_faults_last("5s").await
    }

    /// The same, whose experiments hold their faults that long.
    pub(crate) async fn whose_faults_last(maximum: &'static str) -> Self {
        let sandbox = Sandbox::new();
        let server = server(&sandbox, maximum).await;
        let namespace = format!("kitty-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let bed = Self { namespace, server, sandbox, maximum };
        bed.must(&["create", "namespace", &bed.namespace]);
        eventually("the namespace has an account", async || {
            (bed.kubectl(&["get", "serviceaccount", "default"]).code == 0).then_some(())
        })
        .await;
        bed
    }

    /// Runs kubectl as an administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Finished {
        self.sandbox.finish(self.kubectl_command(arguments))
    }

    fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        let config = cluster().join("admin.conf");
        command.arg("--kubeconfig").arg(config).args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// The same; it must exit with 0. Gives what it printed.
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        let finished = self.kubectl(arguments);
        assert_eq!(finished.code, 0, "kubectl {arguments:?}: {finished}");
        finished.stdout.trim().to_owned()
    }

    /// Creates an object.
    pub(crate) fn create(&self, object: &Value) {
        let file = self.sandbox.path().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.must(&["apply", "--filename", file.to_str().unwrap()]);
    }

    /// Something that makes pods of this name: `Deployment`, `ReplicaSet`, `StatefulSet`, `DaemonSet`.
    pub(crate) fn workload(&self, kind: &str, name: &str, replicas: u32) {
        let mut object = json!({
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
            },
        });
        if kind != "DaemonSet" {
            object["spec"]["replicas"] = replicas.into();
        }
        if kind == "StatefulSet" {
            object["spec"]["serviceName"] = name.into();
        }
        self.create(&object);
    }

    /// A pod that nobody makes.
    pub(crate) fn pod(&self, name: &str, app: &str) {
        self.create(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": pod_spec(),
        }));
    }

    /// The kubeconfig of an account.
    pub(crate) fn kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let ask = |kind: &str, name: &str, template: &str| {
            let template = format!("go-template={template}");
            self.must(&["--namespace", namespace, "get", kind, name, "--output", &template])
        };
        let secret = ask("serviceaccount", account, "{{(index .secrets 0).name}}");
        let token = ask("secret", &secret, "{{.data.token | base64decode}}");
        let admin = fs::read_to_string(cluster().join("admin.conf")).unwrap();
        let (head, _) = admin.split_once("users:").unwrap();
        let user = json!([{"name": "u", "user": {"token": token}}]);
        let config = self.sandbox.path().join(format!("{account}.conf"));
        let rest = "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        fs::write(&config, format!("{head}users: {user}\n{rest}")).unwrap();
        config
    }

    /// An agent on the node, with the account of the manifests, that offers all pods.
    pub(crate) async fn agent(&self) -> Agent {
        let flags = self.agent_flags("");
        let flags: Vec<_> =
            flags.iter().map(String::as_str).chain(["--kubernetes-node", "kitty-node"]).collect();
        self.sandbox.agent(&self.server, "node-1", &flags).await
    }

    /// The flags of an agent whose rule for the test's namespace says this besides.
    pub(crate) fn agent_flags(&self, rule: &str) -> [String; 4] {
        let file = self.sandbox.path().join("agent.toml");
        let namespace = &self.namespace;
        fs::write(&file, format!("[[kubernetes]]\nnamespace = \"{namespace}\"\n{rule}\n")).unwrap();
        let account = self.kubeconfig("chaos-kitty", "kitty-agent");
        ["--config".to_owned(), text(&file), "--kubeconfig".to_owned(), text(&account)]
    }

    /// Starts the server again, in the place of one that is gone.
    pub(crate) async fn restart_server(&mut self) {
        self.server = server(&self.sandbox, self.maximum).await;
    }

    /// Waits until as many targets of this group are well as there should be, and gives them.
    pub(crate) async fn group(&self, name: &str, size: usize) -> Vec<v1::Target> {
        eventually(&format!("{size} pods of {name} are well"), async || {
            let targets = self.server.targets().await;
            let group: Vec<_> = targets
                .into_iter()
                .filter(|target| target.aggregation_identifier == name)
                .filter(|target| target.health() == v1::target_health::State::Normal)
                .collect();
            (group.len() == size).then_some(group)
        })
        .await
    }

    /// How many replicas something is to have.
    pub(crate) fn replicas(&self, workload: &str) -> String {
        self.must(&["get", workload, "--output", "jsonpath={.spec.replicas}"])
    }

    /// Waits until something is to have that many replicas.
    pub(crate) async fn has(&self, workload: &str, replicas: &str) {
        eventually(&format!("{workload} is to have {replicas}"), async || {
            (self.replicas(workload) == replicas).then_some(())
        })
        .await;
    }

    /// Builds a suite, and gives its experiments.
    pub(crate) async fn build(&self, document: &Value) -> Vec<Value> {
        let address = self.server.tcp().await;
        let (code, built) = http::json(&address, "POST", "/experiment/build", &document.to_string()).await;
        assert_eq!(code, 200, "{built}");
        built.as_array().unwrap().clone()
    }

    /// Waits until all experiments are over, and gives all there were.
    pub(crate) async fn over(&self) -> Vec<Value> {
        let address = self.server.tcp().await;
        eventually("all experiments are over", async || {
            let (_, active) = http::json(&address, "GET", "/experiment", "").await;
            active.as_array()?.is_empty().then_some(())
        })
        .await;
        let (_, all) = http::json(&address, "GET", "/experiment?all=true", "").await;
        all.as_array().unwrap().clone()
    }
}

/// The cluster's API server is away for as long as this is there.
pub(crate) struct ApiServerAway;

impl ApiServerAway {
    pub(crate) fn new() -> Self {
        api_server("api-stop");
        Self
    }
}

impl Drop for ApiServerAway {
    fn drop(&mut self) {
        api_server("api-start");
    }
}

fn api_server(order: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("beds/kubernetes");
    let mut command = Command::new(script);
    // What it starts goes on with what it has inherited.
    command.arg(order).arg(cluster()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "{order}");
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        self.kubectl(&["delete", "pods", "--all", "--grace-period", "0", "--force"]);
    }
}

async fn server(sandbox: &Sandbox, maximum: &str) -> Server {
    sandbox.server(&[&FLAGS[..], &["--experiment-maximum", maximum]].concat()).await
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn pod_spec() -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main",
            "image": "kitty/shell:1",
            "imagePullPolicy": "Never",
            "command": POLITE,
            // What is not asked for is as much as the limit, and a small node is soon full.
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "10m", "memory": "16Mi"}},
        }],
    })
}

/// A suite of one method on one group.
pub(crate) fn suite(group: &str, method: &str) -> Value {
    json!({
        "platformType": "KubernetesPlatform",
        "experimentCriteria": [{
            "containerIdentifier": group,
            "experimentMethods": [method],
            "specificContainerTargets": [],
        }],
    })
}
