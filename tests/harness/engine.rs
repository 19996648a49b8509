//! Something that speaks as much of Docker's API as an agent asks for, with as many containers as a test likes.
//! Each is a real process in a cgroup that bears the container's id, since an agent believes no pid otherwise.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::broadcast,
    task::JoinHandle,
};
use uuid::Uuid;

/// A simulated Engine. It ends, and its processes with it, when dropped.
pub struct Engine {
    state: Arc<State>,
    serving: JoinHandle<()>,
    group: PathBuf,
    processes: Vec<Child>,
}

struct State {
    containers: Mutex<Vec<Value>>,
    events: broadcast::Sender<String>,
}

impl Engine {
    /// Listens on a socket, without containers.
    pub fn new(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let state = Arc::new(State { containers: Mutex::default(), events: broadcast::Sender::new(4096) });
        let group = unified().join(format!("kitty-{}", Uuid::new_v4().simple()));
        fs::create_dir(&group).unwrap_or_else(|error| panic!("{}: {error}", group.display()));
        let serving = tokio::spawn(serve(listener, state.clone()));
        Self { state, serving, group, processes: Vec::new() }
    }

    /// Starts that many containers more, and says nothing of it until [`Self::break_off`].
    pub fn fill(&mut self, count: usize) {
        for number in self.processes.len()..self.processes.len() + count {
            let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            let group = self.group.join(&id);
            fs::create_dir(&group).unwrap();
            let child =
                Command::new("/bin/busybox").args(["sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
            fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
            self.state.containers.lock().unwrap().push(container(&id, number, child.id()));
            self.processes.push(child);
        }
    }

    /// Ends all connections that are told of events: whoever follows has to look at everything anew.
    pub fn break_off(&self) {
        self.state.events.send(String::new()).unwrap();
    }

    /// Lets one container's own health check fail, and tells of it.
    pub fn sicken(&self, number: usize) {
        let mut containers = self.state.containers.lock().unwrap();
        containers[number]["State"]["Health"] = json!({"Status": "unhealthy", "FailingStreak": 3});
        let event = json!({
            "Type": "container", "Action": "health_status: unhealthy", "Actor": {"ID": containers[number]["Id"]},
        });
        self.state.events.send(event.to_string()).unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.serving.abort();
        for child in &mut self.processes {
            let _gone_already = child.kill();
            child.wait().unwrap();
        }
        for entry in fs::read_dir(&self.group).into_iter().flatten().flatten() {
            let _not_a_group = fs::remove_dir(entry.path());
        }
        let _not_there = fs::remove_dir(&self.group);
    }
}

/// Where cgroup version 2 is mounted.
fn unified() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup version 2 is mounted");
    PathBuf::from(mount.split(' ').nth(4).unwrap())
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

async fn serve(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, state.clone()));
    }
}

/// One request, one answer. The client goes away when it likes.
async fn answer(stream: UnixStream, state: Arc<State>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
    }
    if path.contains("/events") {
        return tell(stream, state).await;
    }
    let (status, body) = state.body(&path);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()
}

async fn tell(mut stream: BufReader<UnixStream>, state: Arc<State>) -> Option<()> {
    let mut events = state.events.subscribe();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    loop {
        let event = events.recv().await.ok().filter(|event| !event.is_empty())?;
        stream.write_all(format!("{event}\n").as_bytes()).await.ok()?;
    }
}

impl State {
    fn body(&self, path: &str) -> (&'static str, String) {
        let containers = self.containers.lock().unwrap();
        let wanted = path.split('?').next().unwrap().split('/').rev().nth(1).unwrap();
        let body = match wanted {
            _ if path.ends_with("/version") => json!({"Version": "simulated", "ApiVersion": "1.41"}),
            "containers" => containers.iter().map(summary).collect(),
            id => match containers.iter().find(|one| one["Id"] == id) {
                Some(one) => one.clone(),
                None => return ("404 Not Found", json!({"message": "No such container"}).to_string()),
            },
        };
        ("200 OK", body.to_string())
    }
}

/// As the list of containers has it.
fn summary(container: &Value) -> Value {
    json!({
        "Id": container["Id"], "Names": [container["Name"]], "Image": container["Config"]["Image"],
        "ImageID": container["Image"], "Command": "/usr/bin/till", "Created": 1767225600, "Ports": [],
        "Labels": container["Config"]["Labels"], "State": "running", "Status": "Up 2 hours (healthy)",
    })
}
