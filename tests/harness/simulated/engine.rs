//! Docker's Engine.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use super::{Api, Crowd, Follows, Simulated, http::Serving};

/// A simulated Engine. It ends, and its processes with it, when dropped.
pub struct Engine {
    state: Arc<State>,
    _serving: Serving,
    crowd: Crowd,
}

struct State {
    /// `cgroupfs`, `systemd` or `none`.
    cgroup_driver: &'static str,
    containers: Mutex<Vec<Value>>,
    events: Follows,
}

impl Engine {
    /// Listens on a socket, without containers.
    pub fn new(socket: &Path) -> Self {
        Self::with(socket, "cgroupfs")
    }

    /// The same, as one that runs without root on a host with control groups of version 1.
    pub fn without_cgroups(socket: &Path) -> Self {
        Self::with(socket, "none")
    }

    fn with(socket: &Path, cgroup_driver: &'static str) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let events = Follows::new(4096);
        let state = Arc::new(State { cgroup_driver, containers: Mutex::default(), events });
        let serving = Serving::start(UnixListenerStream::new(listener), state.clone());
        Self { state, _serving: serving, crowd: Crowd::new() }
    }
}

impl Simulated for Engine {
    fn fill(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.crowd.size();
            let (id, pid) = self.crowd.grow();
            self.state.containers.lock().unwrap().push(container(&id, number, pid));
        }
    }

    fn is_followed(&self) -> bool {
        self.state.events.receiver_count() > 0
    }

    /// By ending all connections that are told of events.
    fn restart_watches(&self) {
        self.state.events.send(String::new()).unwrap();
    }

    fn sicken(&self, number: usize) {
        let mut containers = self.state.containers.lock().unwrap();
        containers[number]["State"]["Health"] = json!({"Status": "unhealthy", "FailingStreak": 3});
        let event = json!({
            "Type": "container", "Action": "health_status: unhealthy", "Actor": {"ID": containers[number]["Id"]},
        });
        self.state.events.send(event.to_string()).unwrap();
    }
}

impl Api for State {
    fn get(&self, path: &str) -> Option<Value> {
        let containers = self.containers.lock().unwrap();
        match path.split('?').next().unwrap().split('/').rev().nth(1).unwrap() {
            _ if path.ends_with("/info") => Some(json!({"CgroupDriver": self.cgroup_driver})),
            _ if path.ends_with("/version") => Some(json!({"Version": "simulated", "ApiVersion": "1.41"})),
            "containers" => Some(containers.iter().map(summary).collect()),
            id => containers.iter().find(|one| one["Id"] == id).cloned(),
        }
    }

    fn follows(&self, path: &str) -> Option<&Follows> {
        path.contains("/events").then_some(&self.events)
    }
}

/// As `docker inspect` shows it, in the main.
fn container(id: &str, number: usize, pid: u32) -> Value {
    json!({
        "Id": id,
        "Name": format!("/shop-till-{number}"),
        "Created": "2026-01-01T00:00:00Z",
        "Path": "/usr/bin/till",
        "Args": ["--listen", "0.0.0.0:8080"],
        "State": {
            "Status": "running", "Running": true, "Paused": false, "Restarting": false, "OOMKilled": false,
            "Dead": false, "Pid": pid, "ExitCode": 0, "Error": "", "StartedAt": "2026-01-01T00:00:00Z",
            "FinishedAt": "0001-01-01T00:00:00Z", "Health": {"Status": "healthy", "FailingStreak": 0},
        },
        "Image": "sha256:6b7dfa7e8fdbe18ad425dd965a1049d984f31cf0ad57fa6d5377cca355e65f03",
        "RestartCount": 0,
        "Driver": "overlay2",
        "HostConfig": {"NetworkMode": "shop_default", "RestartPolicy": {"Name": "always"}, "Memory": 134217728},
        "Config": {
            "Hostname": &id[..12],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "TILL_DATABASE=postgres://db/till"],
            "Image": "registry.example/shop/till:2.4.1",
            "Labels": {
                "com.docker.compose.config-hash": id,
                "com.docker.compose.container-number": number.to_string(),
                "com.docker.compose.project": "shop",
                "com.docker.compose.service": "till",
                "org.opencontainers.image.description": "The till of the shop, which takes the money",
                "team": "payments",
                "tier": "front",
            },
        },
    })
}

/// As the list of containers has it.
fn summary(container: &Value) -> Value {
    json!({
        "Id": container["Id"], "Names": [container["Name"]], "Image": container["Config"]["Image"],
        "ImageID": container["Image"], "Command": "/usr/bin/till", "Created": 1767225600, "Ports": [],
        "Labels": container["Config"]["Labels"], "State": "running", "Status": "Up 2 hours (healthy)",
    })
}
