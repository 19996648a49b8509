//! Nodes that cost little: each attaches as an agent of one target, answers what it must, and does nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chaos_kitty::{
    client::{TlsFiles, dial},
    endpoint::Endpoint,
    limits::PROTOCOL_VERSION,
    v1::{
        ActionReport, ActionReports, AgentMessage, Hello, LeaseRenewal, Pong, ServerMessage, StartAction,
        Target, TargetsChanged, action_kind::Name, action_state::Name as State, agent_message::Kind as Up,
        agent_role, server_message::Kind as Down, target_health,
    },
};
use chaos_kitty_tests::eventually;
use futures_util::{StreamExt, stream};
use prost::Message;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;

/// Nodes that attach at a time.
const AT_A_TIME: usize = 64;
/// Messages on their way to the server.
const QUEUE: usize = 8;

/// Attached nodes, until dropped.
#[derive(Default)]
pub struct Swarm {
    nodes: JoinSet<()>,
    seen: Arc<Seen>,
    size: usize,
}

/// What the nodes of a swarm have seen so far.
#[derive(Default)]
pub struct Seen {
    /// Orders to revert everything, and to stop doing so.
    pub commands: AtomicUsize,
    /// Bytes of the last order to start something, and of the answer to it, as messages.
    pub down: AtomicUsize,
    /// See `down`.
    pub up: AtomicUsize,
    /// Reports of an end that the server has taken in.
    pub taken: AtomicUsize,
}

impl Swarm {
    /// Attaches so many nodes more, named `PREFIX-NUMBER`, by these addresses in turn.
    pub async fn attach(&mut self, endpoints: &[&Endpoint], prefix: &str, count: usize) {
        let attaching = stream::iter(0..count).map(|number| {
            let id = format!("{prefix}-{number}");
            let seen = Arc::clone(&self.seen);
            let endpoint = endpoints[number % endpoints.len()];
            async move { Node::attach(endpoint, &id, seen).await }
        });
        let mut attached = attaching.buffer_unordered(AT_A_TIME);
        while let Some(node) = attached.next().await {
            self.nodes.spawn(node.live());
            self.size += 1;
        }
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What they have seen.
    pub fn seen(&self) -> &Arc<Seen> {
        &self.seen
    }

    /// Waits until all of them together have seen so many commands.
    pub async fn commands(&self, count: usize) {
        eventually("all nodes have their commands", async || {
            (self.seen.commands.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }
}

/// The id of the one target of a node.
pub fn target_id(node: &str) -> String {
    format!("host/{node}")
}

struct Node {
    id: String,
    up: mpsc::Sender<AgentMessage>,
    down: tonic::Streaming<ServerMessage>,
    reports: u64,
    seen: Arc<Seen>,
}

impl Node {
    async fn attach(endpoint: &Endpoint, id: &str, seen: Arc<Seen>) -> Self {
        let mut client = dial(endpoint, &TlsFiles::default()).await.unwrap();
        let (up, queue) = mpsc::channel(QUEUE);
        up.send(message(Up::Hello(hello(id)))).await.unwrap();
        let down = client.attach(ReceiverStream::new(queue)).await.unwrap().into_inner();
        let mut node = Self { id: id.to_owned(), up, down, reports: 0, seen };
        let first = node.down.message().await.unwrap().unwrap().kind;
        assert!(matches!(first, Some(Down::Welcome(_))), "{id} is not welcome: {first:?}");
        node.send(Up::Targets(roster(id))).await;
        node
    }

    async fn live(mut self) {
        while let Ok(Some(message)) = self.down.message().await {
            match message.kind {
                Some(Down::Renewal(renewal)) => {
                    self.send(Up::Renewal(LeaseRenewal { answered: 0, ..renewal })).await
                }
                Some(Down::Ping(ping)) => self.send(Up::Pong(Pong { number: ping.number })).await,
                Some(Down::Start(order)) => self.obey(order).await,
                Some(Down::Taken(taken)) if taken.sequence == self.reports => {
                    self.seen.taken.fetch_add(1, Ordering::Relaxed);
                }
                Some(Down::RevertAll(_) | Down::Unlatch(_)) => {
                    self.seen.commands.fetch_add(1, Ordering::Relaxed);
                    self.send(Up::Pong(Pong { number: u64::MAX })).await;
                }
                _ => {}
            }
        }
    }

    /// Acknowledges the order at once and reports it done.
    async fn obey(&mut self, order: StartAction) {
        self.seen.down.store(order.encoded_len(), Ordering::Relaxed);
        for state in [State::Accepted, State::Done] {
            self.reports += 1;
            let report = ActionReport {
                action_id: order.action_id.clone(),
                sequence: self.reports,
                state: state as i32,
                ..ActionReport::default()
            };
            let reports = ActionReports { reports: vec![report] };
            self.seen.up.store(reports.encoded_len(), Ordering::Relaxed);
            self.send(Up::Reports(reports)).await;
        }
    }

    async fn send(&self, kind: Up) {
        assert!(self.up.send(message(kind)).await.is_ok(), "{}: the server ended the stream", self.id);
    }
}

fn message(kind: Up) -> AgentMessage {
    AgentMessage { node: String::new(), kind: Some(kind) }
}

fn hello(id: &str) -> Hello {
    Hello {
        agent_id: id.to_owned(),
        host: id.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: agent_role::Name::Agent as i32,
        protocol_versions: vec![PROTOCOL_VERSION],
        platforms: vec!["HostPlatform".to_owned()],
        ..Hello::default()
    }
}

fn roster(id: &str) -> TargetsChanged {
    let target = Target {
        id: target_id(id),
        incarnation: "1".to_owned(),
        platform_type: "HostPlatform".to_owned(),
        name: id.to_owned(),
        agent_id: id.to_owned(),
        host: id.to_owned(),
        health: target_health::State::Normal as i32,
        actions: vec![Name::Gc as i32],
        ..Target::default()
    };
    TargetsChanged { full: true, upserted: vec![target], complete: true, ..TargetsChanged::default() }
}
