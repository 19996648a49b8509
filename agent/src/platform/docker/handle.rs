//! The way to the Engine, and to one container through it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::{ContainerInspectResponse, EventMessage, SystemInfoCgroupDriverEnum as CgroupDriver},
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptions,
        RestartContainerOptions, StopContainerOptions,
    },
};
use chaos_kitty::{Code, Problem, signal::Signal};
use chaos_kitty_guard::{Process, Undo};
use futures_util::{
    future::FutureExt,
    stream::{BoxStream, StreamExt},
};
use tokio::net::UnixStream;

use super::health;
use crate::platform::supervisor::{Answer, Standing, Stopping, Supervisor};

/// Longest wait for an answer, in seconds. A stop takes as long as the container may take to end.
const PATIENCE: u64 = 110;

/// What may change a target.
const EVENTS: [&str; 9] =
    ["start", "die", "pause", "unpause", "health_status", "rename", "update", "destroy", "restart"];

/// A container engine that speaks Docker's API.
#[derive(Debug)]
pub(super) struct Engine {
    docker: Docker,
    /// Absolute: the guard uses it from another folder.
    socket: PathBuf,
}

impl Engine {
    /// Connects, and agrees on a version of the API.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) async fn connect(socket: &Path) -> Result<Self, String> {
        let unusable = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run the agent as root, or as a member of the group that may use the socket"
                }
                _ => "Docker does not run, or listens elsewhere (--docker-socket)",
            };
            format!("{}: {error}: {hint}", socket.display())
        };
        // The client itself says of all of this only that it could not connect.
        UnixStream::connect(socket).await.map_err(unusable)?;
        let socket = fs::canonicalize(socket).map_err(unusable)?;
        let docker = Docker::connect_with_unix(&socket.to_string_lossy(), PATIENCE, API_DEFAULT_VERSION)
            .map_err(|error| format!("{}: {error}", socket.display()))?;
        let docker =
            docker.negotiate_version().await.map_err(|error| format!("{}: {error}", socket.display()))?;
        let engine = Self { docker, socket };
        engine.has_cgroups().await?;
        Ok(engine)
    }

    /// An Engine without root has none on a host with version 1: its containers are processes like any other.
    async fn has_cgroups(&self) -> Result<(), String> {
        let info = self.docker.info().await.map_err(|error| self.broken(&error))?;
        if info.cgroup_driver != Some(CgroupDriver::NONE) {
            return Ok(());
        }
        Err(format!(
            "{}: the Engine runs without control groups, as it does without root on a host with version 1 of them: its \
             containers have no limits, and can not be told from other processes. Run it as root, or on a host with \
             version 2, or name their processes with --process",
            self.socket.display()
        ))
    }

    /// What it is, e.g. "Docker 20.10.24 (API 1.41)".
    pub(super) async fn version(&self) -> Result<String, String> {
        let version = self.docker.version().await.map_err(|error| self.broken(&error))?;
        let known = |text: Option<String>| text.unwrap_or_default();
        Ok(format!("Docker {} (API {})", known(version.version), known(version.api_version)))
    }

    /// The ids of all containers that run.
    pub(super) async fn running(&self) -> Result<Vec<String>, String> {
        let listed = self.docker.list_containers(None::<ListContainersOptions>).await;
        let listed = listed.map_err(|error| self.broken(&error))?;
        Ok(listed.into_iter().filter_map(|container| container.id).collect())
    }

    /// What is known of a container. `None`: there is none of that id.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, String> {
        match self.docker.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(container) => Ok(Some(container)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// What happens to containers, from a moment on (`SECONDS.NANOSECONDS` since 1970), so that nothing is missed
    /// between this and a list.
    pub(super) fn events(&self, since: &str) -> BoxStream<'static, Result<EventMessage, String>> {
        let filters = HashMap::from([("type", vec!["container"]), ("event", EVENTS.to_vec())]);
        let options = EventsOptionsBuilder::new().since(since).filters(&filters).build();
        let socket = self.socket.clone();
        let docker = self.docker.clone();
        let events = docker.events(Some(options));
        events.map(move |event| event.map_err(|error| broken(&socket, &error))).boxed()
    }

    fn broken(&self, error: &Error) -> String {
        broken(&self.socket, error)
    }
}

/// Why the Engine does not answer.
fn broken(socket: &Path, error: &Error) -> String {
    format!("{}: {error}: look whether Docker runs, and into its log", socket.display())
}

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) engine: Arc<Engine>,
    pub(super) id: Arc<str>,
}

impl Container {
    fn refused(&self, what: &str, error: &Error) -> Problem {
        let what = format!("{what} container {:.12}: {error}", self.id);
        match error {
            Error::DockerResponseServerError { status_code: 404, .. } => Problem::new(Code::TargetGone, what),
            Error::DockerResponseServerError { status_code: 401 | 403, .. } => {
                Problem::new(Code::PolicyForbids, what).hint("let the agent's user do it in the Engine")
            }
            Error::DockerResponseServerError { .. } => Problem::new(Code::SupervisorRefused, what),
            _ => Problem::new(Code::NoAnswer, what).hint("look whether Docker runs, and into its log"),
        }
    }
}

impl Supervisor for Container {
    fn kill(&self, signal: Signal, _all: bool) -> Answer<'_, ()> {
        let options = KillContainerOptionsBuilder::new().signal(signal.name).build();
        async move {
            let killed = self.engine.docker.kill_container(&self.id, Some(options)).await;
            killed.map_err(|error| self.refused("killing", &error))
        }
        .boxed()
    }

    fn restart(&self) -> Answer<'_, ()> {
        async {
            let restarted =
                self.engine.docker.restart_container(&self.id, None::<RestartContainerOptions>).await;
            restarted.map_err(|error| self.refused("restarting", &error))
        }
        .boxed()
    }

    /// One that is killed by the Engine counts as stopped by its owner. The stop that follows waits for its end.
    fn stop(&self, kill: bool) -> Answer<'_, ()> {
        async move {
            if kill {
                self.kill(Signal::KILL, true).await?;
            }
            let stopped = self.engine.docker.stop_container(&self.id, None::<StopContainerOptions>).await;
            stopped.map_err(|error| self.refused("stopping", &error))
        }
        .boxed()
    }

    /// The Engine goes on with a stop whose caller is gone, and until it is over takes the container for started.
    /// A restart waits for the end.
    fn undo_stop(&self, stopping: Stopping, _: &[String]) -> Result<Undo, Problem> {
        let order = match stopping {
            Stopping::UnderWay => "restart?t=2",
            Stopping::Over => "start",
        };
        Ok(Undo::HttpUnix {
            socket: self.engine.socket.clone(),
            method: "POST".to_owned(),
            path: format!("/containers/{}/{order}", self.id),
        })
    }

    fn look(&self) -> Answer<'_, Standing> {
        async {
            let container =
                self.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await;
            let container = container.map_err(|error| self.refused("inspecting", &error))?;
            let vanishes = health::vanishes(&container);
            let state = container.state.unwrap_or_default();
            let main = health::main_pid(&state).and_then(Process::now);
            Ok(Standing { state: health::words(&state), main, along: Vec::new(), vanishes })
        }
        .boxed()
    }
}
