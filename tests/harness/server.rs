//! kittyd under test.

use chaos_kitty::{
    client::{Client, TlsFiles, dial},
    endpoint::{DEFAULT_SOCKET, Endpoint},
    v1::{self, GetStatusRequest, ListActionsRequest, ListAgentsRequest, ListTargetsRequest, action_state},
};

use crate::{Sandbox, eventually, process::Process};

/// A running kittyd. Killed when dropped.
pub struct Server {
    /// The process.
    pub process: Process,
    socket: Endpoint,
}

impl Server {
    pub(crate) async fn start(sandbox: &Sandbox, flags: &[&str]) -> Self {
        let mut command = sandbox.command("kittyd");
        let socket = Endpoint::Unix(sandbox.path().join(DEFAULT_SOCKET));
        command.args(["--listen", &socket.to_string(), "--listen", "http://127.0.0.1:0"]).args(flags);
        let mut server = Self { process: Process::start("kittyd", command, sandbox.path()), socket };
        eventually("kittyd answers", async || {
            assert!(server.process.is_running(), "kittyd ended at its start:\n{}", server.process.stderr());
            let mut client = dial(&server.socket, &TlsFiles::default()).await.ok()?;
            client.get_status(GetStatusRequest {}).await.ok()
        })
        .await;
        server
    }

    /// Its Unix socket.
    pub fn endpoint(&self) -> Endpoint {
        self.socket.clone()
    }

    /// Its Unix socket, as `--server` takes it.
    pub fn address(&self) -> String {
        self.socket.to_string()
    }

    /// A client over the Unix socket.
    pub async fn client(&self) -> Client {
        dial(&self.socket, &TlsFiles::default()).await.unwrap()
    }

    /// What `GetStatus` answers.
    pub async fn status(&self) -> v1::Status {
        self.client().await.get_status(GetStatusRequest {}).await.unwrap().into_inner()
    }

    /// The TCP address that the system chose, `http://127.0.0.1:PORT`.
    pub async fn tcp(&self) -> String {
        let listening = self.status().await.listening;
        listening.into_iter().find(|address| address.starts_with("http")).expect("kittyd listens on TCP")
    }

    /// All targets.
    pub async fn targets(&self) -> Vec<v1::Target> {
        let request = ListTargetsRequest::default();
        self.client().await.list_targets(request).await.unwrap().into_inner().targets
    }

    /// All connected nodes.
    pub async fn agents(&self) -> Vec<v1::Agent> {
        self.client().await.list_agents(ListAgentsRequest::default()).await.unwrap().into_inner().agents
    }

    /// Actions that are not over.
    pub async fn active(&self) -> Vec<v1::ActionStatus> {
        let request = ListActionsRequest { active_only: true, ..Default::default() };
        self.client().await.list_actions(request).await.unwrap().into_inner().actions
    }

    /// Waits for a target of this name and gives it.
    pub async fn target(&self, name: &str) -> v1::Target {
        eventually(&format!("a target named {name}"), async || {
            self.targets().await.into_iter().find(|target| target.name == name)
        })
        .await
    }

    /// Unleashes an action on a target, by id or name, and waits until it is over.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn unleash(&self, target: &str, action: v1::Action) -> Result<v1::ActionStatus, tonic::Status> {
        let mut updates = self.order(target, action).await?;
        let mut last = None;
        while let Some(update) = updates.message().await? {
            last = Some(update);
        }
        Ok(last.expect("the answer has at least one status"))
    }

    /// Orders an action, and leaves it alone once it is in force.
    ///
    /// # Panics
    /// It never is.
    pub async fn started(&self, target: &str, action: v1::Action) -> v1::ActionStatus {
        let mut updates = self.order(target, action).await.unwrap();
        let mut last = None;
        while let Some(update) = updates.message().await.unwrap() {
            if update.state() == action_state::Name::Started {
                return update;
            }
            last = Some(update);
        }
        panic!("it never started: {last:?}")
    }

    async fn order(
        &self,
        target: &str,
        action: v1::Action,
    ) -> Result<tonic::Streaming<v1::ActionStatus>, tonic::Status> {
        let request = v1::UnleashRequest {
            action: Some(action),
            choice: Some(v1::unleash_request::Choice::Target(target.to_owned())),
            source: "test".to_owned(),
            ..Default::default()
        };
        Ok(self.client().await.unleash(request).await?.into_inner())
    }
}
