//! How a node becomes attached: one id, one node; what it holds is compared with the book; it is welcomed.

use std::{
    sync::{Arc, Mutex, Weak, atomic::Ordering},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem, limits,
    v1::{ActionReport, Hello, RevertAll, Unlatch, Welcome, event, server_message::Kind},
};
use tokio::sync::oneshot;

use super::{
    Fleet,
    departure::Departure,
    identity::{same_process, worker_target},
    ledger::Ledger,
    mailbox::Mailbox,
    node::Node,
    session::refusal,
};
use crate::{
    listen::WatchedPeer,
    task::{self, OnPanic, lock},
};

/// How long an attached node may take to answer a Ping before another of its id takes its place.
const CONTEST: Duration = Duration::from_secs(2);

/// A node that wants to be attached. Its Hello has been checked.
pub(super) struct Newcomer {
    pub(super) hello: Hello,
    pub(super) process: Option<WatchedPeer>,
    pub(super) mailbox: Arc<Mailbox>,
}

/// What came of it.
pub(super) enum Attached {
    /// It has been welcomed.
    Now(Arc<Node>),
    /// Another node of its id is attached, and was sent a Ping.
    Contested(Box<Contest>),
}

/// Two nodes of one id.
pub(super) struct Contest {
    newcomer: Newcomer,
    older: Arc<Node>,
    pong: oneshot::Receiver<()>,
}

impl Fleet {
    /// Attaches a node, unless another of its id is there.
    ///
    /// # Errors
    /// [`Code::Stopping`].
    pub(super) fn attach(self: &Arc<Self>, mut newcomer: Newcomer) -> Result<Attached, Problem> {
        let ledger = self.ledger().filter(|_| !self.stopping.load(Ordering::Relaxed)).ok_or_else(stopping)?;
        self.raise_epoch_above(&newcomer.hello);
        let held = std::mem::take(&mut newcomer.hello.held);
        loop {
            let mut state = self.state();
            let Some(older) = state.nodes.get(&newcomer.hello.agent_id).filter(|node| node.live().attached)
            else {
                let node = Arc::new(Node::new(
                    newcomer.hello,
                    self.store.next_connection_id(),
                    newcomer.process,
                    newcomer.mailbox,
                    self.settings.lease,
                ));
                state.nodes.insert(node.id().to_owned(), node.clone());
                drop(state);
                self.welcome(&node, held, &*ledger);
                return Ok(Attached::Now(node));
            };
            let older = older.clone();
            drop(state);
            if same_process(&older.hello, &newcomer.hello) {
                self.displace(&older);
                continue;
            }
            newcomer.hello.held = held;
            let pong = older.ping();
            return Ok(Attached::Contested(Box::new(Contest { newcomer, older, pong })));
        }
    }

    /// Waits for the Pong, then refuses one of the two.
    pub(super) async fn settle_contest(
        self: Arc<Self>,
        contest: Contest,
        settled: Weak<Mutex<Vec<Arc<Node>>>>,
    ) {
        let Contest { newcomer, older, pong } = contest;
        let (mailbox, direct) = (newcomer.mailbox.clone(), newcomer.hello.path.is_empty());
        let id = newcomer.hello.agent_id.clone();
        let answered = matches!(tokio::time::timeout(CONTEST, pong).await, Ok(Ok(())));
        let outcome = if answered {
            Err(duplicate(&older, &newcomer.hello))
        } else {
            self.displace(&older);
            self.attach(newcomer)
        };
        let problem = match (outcome, settled.upgrade()) {
            (Ok(Attached::Now(node)), Some(settled)) => {
                lock(&settled).push(node);
                return;
            }
            (Ok(Attached::Now(node)), None) => return self.detach(&node, Departure::ConnectionLost),
            // A third one was faster.
            (Ok(Attached::Contested(contest)), _) => duplicate(&contest.older, &contest.newcomer.hello),
            (Err(problem), _) => problem,
        };
        tracing::warn!(node = id, %problem, "a node is refused");
        self.losses.add("nodes_refused", 1);
        if direct {
            mailbox.close(problem);
        } else {
            mailbox.push(refusal(&id, problem));
        }
    }

    /// Another node of the same id takes this one's place; it is told why.
    fn displace(self: &Arc<Self>, older: &Arc<Node>) {
        let problem = Problem::new(
            Code::DuplicateAgent,
            format!(
                "another node of the id {:?} attached, and this one is its past or did not answer",
                older.id()
            ),
        )
        .hint("give each agent a state folder and an id of its own");
        tracing::warn!(node = older.id(), "a newer stream of the same id takes over");
        let address = if older.is_direct() { "" } else { older.id() };
        older.mailbox().push(refusal(address, problem.clone()));
        self.detach(older, Departure::Displaced);
        if older.is_direct() {
            older.mailbox().close(problem);
        }
    }

    fn welcome(&self, node: &Arc<Node>, held: Vec<ActionReport>, ledger: &dyn Ledger) {
        let standing = ledger.attached(node, held);
        let latched = ledger.latched();
        let welcome = Welcome {
            connection_id: node.connection_id,
            lease: Some(self.settings.lease.into()),
            epoch: self.epoch(),
            server_id: self.store.server_id().to_owned(),
            protocol_version: limits::PROTOCOL_VERSION,
            known: standing.known.clone(),
            latched,
        };
        {
            // Under the lock, so that no broadcast comes before the Welcome or is missed after it.
            let mut live = node.live();
            live.held.extend(standing.known);
            node.send(Kind::Welcome(welcome));
            live.welcomed = true;
        }
        if standing.taken > 0 {
            self.taken(node, standing.taken);
        }
        let epoch = self.epoch();
        match (latched, ledger.latched()) {
            (false, true) => drop(node.send(Kind::RevertAll(RevertAll { epoch }))),
            (true, false) => drop(node.send(Kind::Unlatch(Unlatch { epoch }))),
            (false, false) if node.hello.latched => drop(node.send(Kind::Unlatch(Unlatch { epoch }))),
            _ => {}
        }
        self.renew_in_time(node);
        tracing::info!(
            node = node.id(), connection = node.connection_id, host = node.hello.host, pid = node.hello.pid,
            path = ?node.hello.path, "{} attached", node.noun()
        );
        self.bus.publish_with(|| {
            let message = format!("{} {} attached", node.noun(), node.id());
            (event::Kind::AgentJoined(node.view(0)), message)
        });
        if let Some(target) = worker_target(&node.hello) {
            self.upsert_targets(node, vec![target]);
        }
    }

    /// Agents obey no epoch older than the newest they have seen: after the store was set back to an earlier
    /// state, this server's own would be refused.
    fn raise_epoch_above(self: &Arc<Self>, hello: &Hello) {
        if hello.server_id != self.store.server_id() || hello.epoch >= limits::SANE_EPOCH - 1 {
            return;
        }
        if hello.epoch > self.epoch.fetch_max(hello.epoch.saturating_add(1), Ordering::AcqRel) {
            let (store, epoch) = (self.store.clone(), self.epoch());
            tracing::warn!(
                epoch,
                node = hello.agent_id,
                "the epoch is raised above one that a node has seen"
            );
            task::spawn(OnPanic::End, async move {
                if let Err(problem) = store.raise_epoch(epoch).await {
                    tracing::error!(%problem, "the raised epoch was not stored");
                }
            });
        }
    }
}

pub(super) fn stopping() -> Problem {
    Problem::new(Code::Stopping, "the server is stopping").hint("it is attached to again once it is back")
}

fn duplicate(older: &Node, newer: &Hello) -> Problem {
    let place = |hello: &Hello| format!("pid {} on {}", hello.pid, hello.host);
    let (older, newer) = (place(&older.hello), format!("{}, {}", newer.agent_id, place(newer)));
    Problem::new(Code::DuplicateAgent, format!("node {newer} has the id of an attached one, {older}"))
        .hint("give each agent a state folder and an id of its own")
}
