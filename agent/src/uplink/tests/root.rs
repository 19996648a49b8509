//! What stands above the uplink under test, and beside it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chaos_kitty::{
    Problem, client,
    client::TlsFiles,
    endpoint::Endpoint,
    v1::{
        ActionReport, AgentMessage, Hello, ServerMessage, Welcome, agent_message::Kind as Up,
        agent_role::Name as Role, server_message::Kind as Down,
    },
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::{
    executor::{Executor, Settings},
    platform::Roster,
    policy::Policy,
    state::Seen,
    uplink::{Presence, Reports, Uplink, relay, relay::Relay},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const EPOCH: u64 = 7;

/// What stands where a server would: a relay with nothing above it but the test.
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) relay: Arc<Relay>,
    pub(super) heard: relay::Receiver<AgentMessage>,
    acceptor: JoinHandle<std::convert::Infallible>,
    _folder: tempfile::TempDir,
}

impl Drop for Root {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Root {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.ipc");
        let relay = Arc::new(Relay::new("root"));
        let acceptor = accept(&path, &relay);
        let heard = relay.opened();
        Self { path, relay, heard, acceptor, _folder: folder }
    }

    /// The next message of a node.
    pub(super) async fn hear(&mut self, node: &str) -> Up {
        let next = async {
            loop {
                let message = self.heard.recv().await.expect("the way up is open");
                if message.node == node {
                    return message.kind.expect("a kind");
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("{node} said nothing"))
    }

    /// The next message of a node that is what is looked for.
    pub(super) async fn hear_such<T>(&mut self, node: &str, mut wanted: impl FnMut(Up) -> Option<T>) -> T {
        loop {
            let kind = self.hear(node).await;
            if let Some(found) = wanted(kind) {
                return found;
            }
        }
    }

    pub(super) async fn hello(&mut self, node: &str) -> Hello {
        self.hear_such(node, |kind| if let Up::Hello(hello) = kind { Some(hello) } else { None }).await
    }

    pub(super) async fn report(&mut self, node: &str) -> ActionReport {
        self.hear_such(node, |kind| match kind {
            Up::Reports(mut news) => news.reports.pop(),
            _ => None,
        })
        .await
    }

    pub(super) fn say(&self, node: &str, kind: Down) {
        self.relay.down(ServerMessage { node: node.to_owned(), kind: Some(kind) });
    }

    pub(super) fn welcome(&self, node: &str, epoch: u64) {
        let welcome = Welcome {
            connection_id: 1,
            lease: Some(Duration::from_secs(15).into()),
            epoch,
            server_id: "server".to_owned(),
            protocol_version: 1,
            ..Welcome::default()
        };
        self.say(node, Down::Welcome(welcome));
    }

    pub(super) async fn attached(&mut self, node: &str) -> Hello {
        let hello = self.hello(node).await;
        self.welcome(node, EPOCH);
        hello
    }

    /// The server restarts: all streams end.
    pub(super) fn restart(&mut self) {
        self.relay.closed();
        self.heard = self.relay.opened();
    }
}

pub(super) fn accept(path: &std::path::Path, relay: &Arc<Relay>) -> JoinHandle<std::convert::Infallible> {
    let local = relay::listen(path, None).unwrap();
    tokio::spawn(relay::serve(local, Arc::clone(relay)))
}

/// An agent under test, without a guard: it refuses every order that comes in time.
pub(super) struct Node {
    pub(super) reports: Arc<Reports>,
    pub(super) seen: watch::Receiver<Seen>,
    pub(super) leave: CancellationToken,
    pub(super) executor: Executor,
    pub(super) rosters: watch::Sender<Roster>,
    pub(super) relay: Arc<Relay>,
    pub(super) running: JoinHandle<()>,
}

pub(super) fn node(id: &str, server: &std::path::Path) -> Node {
    let settings = Settings {
        guard: "/no/such/guard".into(),
        max_held: 1,
        journal: "/no/such".into(),
        steps: "/no/such/steps".into(),
        lock: None,
        policy: Policy::default(),
        put_back: Vec::new(),
    };
    let (executor, news) = Executor::new(settings, Box::new(|_| None));
    let reports = Arc::new(Reports::new(news));
    let collected = Arc::clone(&reports);
    tokio::spawn(async move { collected.collect().await });
    let (rosters, roster) = watch::channel(Roster::default());
    let (seen, leave) = (watch::Sender::new(Seen::default()), CancellationToken::new());
    let relay = Arc::new(Relay::new(id));
    let uplink = Uplink {
        endpoint: Endpoint::Unix(server.to_owned()),
        tls: TlsFiles::default(),
        presence: Presence {
            agent_id: id.to_owned(),
            host: id.to_owned(),
            labels: [("rack".to_owned(), "7".to_owned())].into(),
            platforms: vec!["ProcessPlatform".to_owned()],
        },
        executor: executor.clone(),
        rosters: roster,
        offer: Arc::default(),
        reports: Arc::clone(&reports),
        relay: Arc::clone(&relay),
        seen: seen.clone(),
        leave: leave.clone(),
    };
    let running = tokio::spawn(uplink.run());
    Node { reports, seen: seen.subscribe(), leave, executor, rosters, relay, running }
}

/// A worker that the test plays.
pub(super) struct Played {
    pub(super) out: mpsc::Sender<AgentMessage>,
    pub(super) inbound: Streaming<ServerMessage>,
}

pub(super) async fn play(path: &std::path::Path, first: AgentMessage) -> Result<Played, Problem> {
    let (out, outgoing) = mpsc::channel(8);
    out.send(first).await.unwrap();
    let mut client = client::dial(&Endpoint::Unix(path.to_owned()), &TlsFiles::default()).await?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let inbound = client.attach(stream).await?.into_inner();
    Ok(Played { out, inbound })
}

pub(super) fn own(kind: Up) -> AgentMessage {
    AgentMessage { node: String::new(), kind: Some(kind) }
}

pub(super) fn worker(id: &str) -> AgentMessage {
    own(Up::Hello(Hello {
        agent_id: id.to_owned(),
        host: "web-1".to_owned(),
        pid: 1,
        role: Role::Worker.into(),
        protocol_versions: vec![1],
        ..Hello::default()
    }))
}
