//! An API server of Kubernetes.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use uuid::Uuid;

use super::{Api, Crowd, Follows, Simulated, http::Serving};

/// The namespace that all its pods are in.
const NAMESPACE: &str = "shop";

/// A simulated API server. It ends, and its processes with it, when dropped.
pub struct Kubernetes {
    state: Arc<State>,
    _serving: Serving,
    crowd: Crowd,
}

struct State {
    pods: Mutex<Vec<Value>>,
    /// Counts what has happened.
    version: AtomicU64,
    watches: Follows,
}

impl Kubernetes {
    /// Listens on loopback, without pods, and writes into a file how it is reached.
    pub async fn new(kubeconfig: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let config = json!({
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "x",
        });
        fs::write(kubeconfig, config.to_string()).unwrap();
        let (pods, version) = (Mutex::default(), AtomicU64::new(1));
        let state = Arc::new(State { pods, version, watches: Follows::new(4096) });
        let serving = Serving::start(TcpListenerStream::new(listener), state.clone());
        Self { state, _serving: serving, crowd: Crowd::new() }
    }

    fn tell(&self, kind: &str, object: &Value) {
        self.state.watches.send(json!({"type": kind, "object": object}).to_string()).unwrap();
    }
}

impl Simulated for Kubernetes {
    fn fill(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.crowd.size();
            let (id, _) = self.crowd.grow();
            let version = self.state.version.fetch_add(1, Ordering::SeqCst);
            self.state.pods.lock().unwrap().push(pod(&id, number, version));
        }
    }

    fn is_followed(&self) -> bool {
        self.state.watches.receiver_count() > 0
    }

    /// By telling those who watch that what they have seen is too long ago.
    fn restart_watches(&self) {
        let expired = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410,
            "message": "too old resource version",
        });
        self.tell("ERROR", &expired);
        self.state.watches.send(String::new()).unwrap();
    }

    fn sicken(&self, number: usize) {
        let mut pods = self.state.pods.lock().unwrap();
        let pod = &mut pods[number];
        let version = self.state.version.fetch_add(1, Ordering::SeqCst);
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        pod["status"]["conditions"][1]["status"] = json!("False");
        self.tell("MODIFIED", pod);
    }
}

impl Api for State {
    fn get(&self, path: &str) -> Option<Value> {
        if path.starts_with("/version") {
            return Some(json!({
                "major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "clean",
                "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/amd64",
            }));
        }
        let query = path.strip_prefix("/api/v1/pods?")?;
        let asked =
            |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.parse::<usize>().ok());
        let (first, limit) = (asked("continue=").unwrap_or(0), asked("limit=").unwrap_or(usize::MAX));
        let pods = self.pods.lock().unwrap();
        let page: Vec<_> = pods.iter().skip(first).take(limit).collect();
        let next = first + page.len();
        let more = if next < pods.len() { next.to_string() } else { String::new() };
        let version = self.version.load(Ordering::SeqCst).to_string();
        Some(json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version, "continue": more},
            "items": page,
        }))
    }

    fn follows(&self, path: &str) -> Option<&Follows> {
        path.contains("watch=true").then_some(&self.watches)
    }
}

/// As a server of version 1.34 shows it, in the main: with a sidecar among the init containers.
fn pod(container: &str, number: usize, version: u64) -> Value {
    let [began, image] = ["2026-01-01T00:00:00Z", "registry.example/shop/till:2.4.1"];
    let name = format!("till-6b7dfa7e8f-{number:05}");
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "observedGeneration": 1,
        "lastProbeTime": null, "lastTransitionTime": began})
    };
    let status = |name: &str, id: &str| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "started": true, "image": image,
            "imageID": "registry.example/shop/till@sha256:6b7dfa7e8fdbe18ad425dd965a1049d984f31cf0ad57fa6d5377cca355e65f03",
            "containerID": format!("containerd://{id}"), "state": {"running": {"startedAt": began}}, "lastState": {},
            "allocatedResources": {"cpu": "100m", "memory": "64Mi"},
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
            "user": {"linux": {"uid": 1000, "gid": 1000, "supplementalGroups": [1000]}},
        })
    };
    let spec = |name: &str| {
        json!({
            "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "args": ["--listen", "0.0.0.0:8080"],
            "env": [{"name": "TILL_DATABASE", "value": "postgres://db/till"}, {"name": "NODE", "valueFrom":
                {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}}],
            "ports": [{"containerPort": 8080, "protocol": "TCP", "name": "http"}],
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "volumeMounts": [{"name": "kube-api-access-x2k4f", "readOnly": true,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let conditions = ["PodReadyToStartContainers", "Ready", "Initialized", "ContainersReady", "PodScheduled"]
        .map(condition);
    let mut sidecar = spec("proxy");
    sidecar["restartPolicy"] = json!("Always");
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "generateName": "till-6b7dfa7e8f-", "namespace": NAMESPACE, "uid": Uuid::new_v4().to_string(),
            "resourceVersion": version.to_string(), "generation": 1, "creationTimestamp": began,
            "labels": {"app": "till", "pod-template-hash": "6b7dfa7e8f", "team": "payments", "tier": "front"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "till-6b7dfa7e8f",
                "uid": "0b7a1c55-32c6-4ac5-9d0b-2f7c3a2f10aa", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": began,
                "fieldsType": "FieldsV1", "subresource": "status", "fieldsV1": {"f:status": {"f:conditions": {},
                    "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}, "f:startTime": {}}}}],
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "till", "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "enableServiceLinks": true,
            "resources": {"limits": {"memory": "256Mi"}},
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}],
            "initContainers": [sidecar],
            "containers": [spec("till")],
            "volumes": [{"name": "kube-api-access-x2k4f", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
        },
        "status": {
            "phase": "Running", "observedGeneration": 1, "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}],
            "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}], "startTime": began, "qosClass": "Burstable",
            "conditions": conditions,
            "initContainerStatuses": [status("proxy", "0")],
            "containerStatuses": [status("till", container)],
        },
    })
}
