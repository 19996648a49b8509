//! The server over a real Unix socket, below nodes and callers that the tests play.

mod actions;
mod aside;
mod attach;
mod away;
mod departure;
mod extremes;
mod halt;
mod late;
mod load;
mod relay;
mod step;
mod targets;

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    client::{Client, TlsFiles, dial},
    endpoint::Endpoint,
    limits,
    v1::{self, agent_message, server_message, unleash_request::Choice},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    api::{self, guard::AllowedHosts},
    app::{App, Settings},
    listen::{self, Listeners},
    store::Store,
};

/// Whatever is waited for has this long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a Unix socket in a temporary folder, and on TCP.
struct Server {
    app: App,
    unix: Endpoint,
    /// Where the nodes attach: behind a Unix socket, all of them would be this one process.
    tcp: Endpoint,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    async fn start(settings: Settings) -> Self {
        Self::on(settings, Store::in_memory().unwrap()).await
    }

    async fn on(settings: Settings, store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unix = Endpoint::Unix(folder.path().join("k.ipc"));
        let any = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 0, tls: false };
        let listen = listen::Settings { endpoints: vec![unix.clone(), any], ..Default::default() };
        let listeners = Listeners::bind(&listen).await.unwrap();
        let tcp = listeners.listening().addresses[1].parse().unwrap();
        let app = App::start(settings, store).await.unwrap();
        let hosts = AllowedHosts::from_iter(Vec::new());
        let router =
            api::router(app.service(), hosts, &Default::default(), &Default::default()).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(listeners.serve(router, stop.clone(), Duration::from_secs(1)));
        Self { app, unix, tcp, stop, _folder: folder }
    }

    async fn client(&self) -> Client {
        dial(&self.unix, &TlsFiles::default()).await.unwrap()
    }

    /// A stream that has said nothing yet.
    async fn stream(&self) -> Node {
        Self::stream_over(&self.tcp).await
    }

    async fn stream_over(endpoint: &Endpoint) -> Node {
        let (sender, receiver) = mpsc::channel(10_000);
        // Larger than the contract allows, for tests that break it.
        let client = dial(endpoint, &TlsFiles::default()).await.unwrap();
        let mut client = client.max_encoding_message_size(usize::MAX);
        let inbound = client.attach(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Node { sender, inbound, sequence: 0, id: String::new(), silent: false, deaf_to: None }
    }

    /// A worker of this id and group, welcomed.
    async fn worker(&self, id: &str, group: &str) -> Node {
        let mut node = self.stream().await;
        id.clone_into(&mut node.id);
        node.send(agent_message::Kind::Hello(worker(id, group))).await;
        node.welcome().await;
        self.until("the worker is a target", async || self.target(id).is_some()).await;
        node
    }

    fn target(&self, node: &str) -> Option<Arc<v1::Target>> {
        self.app.service().fleet.target(&format!("worker/here/{node}"))
    }

    fn active(&self) -> Vec<v1::ActionStatus> {
        self.app.service().actions.active()
    }

    /// Waits for a condition.
    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    async fn unleash(
        &self,
        target: &str,
        action: v1::Action,
    ) -> Result<Streaming<v1::ActionStatus>, Problem> {
        self.ask(v1::UnleashRequest { choice: Some(Choice::Target(target.to_owned())), ..asked(action) })
            .await
    }

    async fn ask(&self, request: v1::UnleashRequest) -> Result<Streaming<v1::ActionStatus>, Problem> {
        let answer = self.client().await.unleash(request).await;
        answer.map(tonic::Response::into_inner).map_err(Problem::from)
    }
}

fn asked(action: v1::Action) -> v1::UnleashRequest {
    v1::UnleashRequest { action: Some(action), source: "a test".to_owned(), ..Default::default() }
}

/// Quick times: the lease is the shortest allowed.
fn quick() -> Settings {
    Settings {
        lease: Duration::from_secs(2),
        start_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}

fn worker(id: &str, group: &str) -> v1::Hello {
    v1::Hello {
        agent_id: id.to_owned(),
        host: "here".to_owned(),
        name: id.to_owned(),
        group: group.to_owned(),
        boot_id: "boot".to_owned(),
        pid: 7,
        role: v1::agent_role::Name::Worker.into(),
        protocol_versions: vec![limits::PROTOCOL_VERSION],
        ..Default::default()
    }
}

fn agent(id: &str) -> v1::Hello {
    v1::Hello {
        role: v1::agent_role::Name::Agent.into(),
        platforms: vec!["ProcessPlatform".to_owned()],
        ..worker(id, "")
    }
}

fn delay(duration: Duration) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(v1::action::Kind::Delay(v1::Delay::default())) }
}

fn kill() -> v1::Action {
    v1::Action { duration: None, kind: Some(v1::action::Kind::Kill(v1::Kill::default())) }
}

/// The next news of an action; `None` when there will be none.
async fn news(updates: &mut Streaming<v1::ActionStatus>) -> Option<v1::ActionStatus> {
    tokio::time::timeout(PATIENCE, updates.message()).await.expect("news in time").expect("no error")
}

/// News until the action is in this state.
async fn until_state(
    updates: &mut Streaming<v1::ActionStatus>,
    state: v1::action_state::Name,
) -> v1::ActionStatus {
    loop {
        let status = news(updates).await.unwrap_or_else(|| panic!("it ended before it was {state:?}"));
        if status.state() == state {
            return status;
        }
    }
}

fn code(status: &v1::ActionStatus) -> Option<Code> {
    status.problem.as_ref().and_then(|problem| Code::from_number(problem.code))
}

/// A node's end of a stream.
struct Node {
    sender: mpsc::Sender<v1::AgentMessage>,
    inbound: Streaming<v1::ServerMessage>,
    sequence: u64,
    id: String,
    /// It answers no renewals and no pings.
    silent: bool,
    /// No renewals of this node are answered.
    deaf_to: Option<&'static str>,
}

impl Node {
    async fn send(&self, kind: agent_message::Kind) {
        self.send_from("", kind).await;
    }

    async fn send_from(&self, node: &str, kind: agent_message::Kind) {
        let message = v1::AgentMessage { node: node.to_owned(), kind: Some(kind) };
        self.sender.send(message).await.expect("the stream takes messages");
    }

    /// The next message, with its address; renewals and pings are answered on the way.
    async fn next_with_address(&mut self) -> Result<(String, server_message::Kind), Status> {
        let all = async {
            loop {
                let message = self.inbound.message().await?.ok_or_else(|| Status::ok("the end"))?;
                let node = message.node;
                match message.kind.expect("a kind") {
                    server_message::Kind::Renewal(_) if self.deaf_to == Some(&node) => {}
                    server_message::Kind::Renewal(renewal) if !self.silent => {
                        let answer = v1::LeaseRenewal { number: renewal.number, ..Default::default() };
                        self.send_from(&node, agent_message::Kind::Renewal(answer)).await;
                    }
                    server_message::Kind::Ping(ping) if !self.silent => {
                        self.send_from(&node, agent_message::Kind::Pong(v1::Pong { number: ping.number }))
                            .await;
                    }
                    server_message::Kind::Renewal(_)
                    | server_message::Kind::Ping(_)
                    | server_message::Kind::Taken(_) => {}
                    kind => return Ok((node, kind)),
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("a message in time")
    }

    async fn next(&mut self) -> Result<server_message::Kind, Status> {
        self.next_with_address().await.map(|(_, kind)| kind)
    }

    async fn welcome(&mut self) -> v1::Welcome {
        match self.next().await {
            Ok(server_message::Kind::Welcome(welcome)) => welcome,
            other => panic!("no Welcome: {other:?}"),
        }
    }

    async fn order(&mut self) -> v1::StartAction {
        match self.next().await {
            Ok(server_message::Kind::Start(order)) => order,
            other => panic!("no order: {other:?}"),
        }
    }

    /// The problem that the stream ends with.
    async fn refusal(&mut self) -> Problem {
        loop {
            match self.next().await {
                Err(status) => return Problem::from(status),
                Ok(server_message::Kind::Refusal(_) | server_message::Kind::Welcome(_)) => {}
                Ok(other) => panic!("no refusal: {other:?}"),
            }
        }
    }

    async fn report(&mut self, order: &v1::StartAction, state: v1::action_state::Name) {
        self.report_more(v1::ActionReport { state: state.into(), ..self.about(order) }).await;
    }

    fn about(&self, order: &v1::StartAction) -> v1::ActionReport {
        v1::ActionReport {
            action_id: order.action_id.clone(),
            target_id: order.target_id.clone(),
            remaining: order.action.as_ref().and_then(|action| action.duration),
            ..Default::default()
        }
    }

    async fn report_more(&mut self, mut report: v1::ActionReport) {
        self.sequence += 1;
        report.sequence = self.sequence;
        self.send(agent_message::Kind::Reports(v1::ActionReports { reports: vec![report] })).await;
    }

    /// Goes on answering renewals, pings and nothing else, in the background.
    fn idle(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { while self.next().await.is_ok() {} })
    }
}
