//! One attached agent or worker: what its Hello said, the way to it, its lease.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Timestamp,
    v1::{
        Agent, Hello, PlatformProblem, ServerMessage, StepResult, agent_role::Name as Role,
        server_message::Kind,
    },
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{lease::LeaseClock, mailbox::Mailbox, targets::sound_problems};
use crate::{listen::WatchedPeer, task::lock};

/// A node, from its Hello until it is gone or attaches anew (which makes another `Node`).
#[derive(Debug)]
pub struct Node {
    /// The Hello, without what it held.
    pub(super) hello: Hello,
    /// Of this attachment.
    pub connection_id: u32,
    pub(super) connected_at: SystemTime,
    /// A worker's process, where it is at the other end of a Unix socket.
    pub(super) process: Option<WatchedPeer>,
    mailbox: Arc<Mailbox>,
    /// Wakes those who wait for the answer to a renewal.
    pub(super) answered: Notify,
    /// One reference more for each call through its stream that goes on.
    calls: Arc<()>,
    live: Mutex<Live>,
}

/// A call through a node's stream, while it goes on.
#[derive(Debug)]
pub(crate) struct Turn {
    _count: Arc<()>,
}

/// What changes while it is attached.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) attached: bool,
    /// It has been welcomed: other messages may follow.
    pub(super) welcomed: bool,
    pub(super) lease: LeaseClock,
    pub(super) last_seen: SystemTime,
    /// Ids of the actions that it may hold.
    pub(super) held: HashSet<String>,
    /// When the next renewal is due; the one entry of the timers that counts.
    pub(super) renewal_due: Instant,
    /// Ids of a full list of targets that has not come to its end.
    pub(super) listing: Option<HashSet<String>>,
    /// It has told all its targets once since it attached.
    pub(super) listed: bool,
    pub(super) problems: Vec<PlatformProblem>,
    /// Hashes of the scripts that it was sent.
    pub(super) scripts: HashSet<String>,
    /// Who waits for the answers to steps, by their ids.
    pub(super) steps: HashMap<String, oneshot::Sender<StepResult>>,
    last_ping: u64,
    pings: HashMap<u64, oneshot::Sender<()>>,
}

impl Node {
    pub(super) fn new(
        hello: Hello,
        connection_id: u32,
        process: Option<WatchedPeer>,
        mailbox: Arc<Mailbox>,
        lease: Duration,
    ) -> Self {
        let now = Instant::now();
        let lease = LeaseClock::new(lease, now);
        let live = Live {
            attached: true,
            welcomed: false,
            lease,
            last_seen: SystemTime::now(),
            held: HashSet::new(),
            renewal_due: now + lease.interval(false),
            listing: None,
            listed: false,
            problems: sound_problems(hello.platform_problems.clone()),
            scripts: HashSet::new(),
            steps: HashMap::new(),
            last_ping: 0,
            pings: HashMap::new(),
        };
        Self {
            hello,
            connection_id,
            connected_at: SystemTime::now(),
            process,
            mailbox,
            answered: Notify::new(),
            calls: Arc::default(),
            live: Mutex::new(live),
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.hello.agent_id
    }

    /// A worker is its own only target.
    pub fn is_worker(&self) -> bool {
        self.hello.role() == Role::Worker
    }

    /// Whether what it does not list of a platform is gone: it is attached, has told what it has, and sees that platform.
    pub(super) fn has_listed(&self, platform: &str) -> bool {
        let live = self.live();
        let sees = live.listed && live.problems.iter().all(|it| !it.blind || it.platform_type != platform);
        live.attached && (sees || self.is_worker())
    }

    /// What people call it in a message.
    pub(super) fn noun(&self) -> &'static str {
        if self.is_worker() { "worker" } else { "agent" }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.hello.path.is_empty()
    }

    /// Attached, and welcomed.
    pub(super) fn is_attached(&self) -> bool {
        let live = self.live();
        live.attached && live.welcomed
    }

    /// Attached no longer: whatever it still says is of the past.
    pub(crate) fn has_left(&self) -> bool {
        !self.live().attached
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    pub(super) const fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Leaves a message on its way to the node. False when the way is closed.
    pub(super) fn send(&self, kind: Kind) -> bool {
        let node = if self.is_direct() { String::new() } else { self.id().to_owned() };
        self.mailbox.push(ServerMessage { node, kind: Some(kind) })
    }

    /// Begins a call through its stream, unless so many go on already.
    pub(crate) fn begin_call(&self, most: usize) -> Option<Turn> {
        let count = self.calls.clone();
        (Arc::strong_count(&count) <= most + 1).then_some(Turn { _count: count })
    }

    /// Asks for a Pong.
    pub(super) fn ping(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut live = self.live();
            live.last_ping += 1;
            let number = live.last_ping;
            live.pings.retain(|_, waiting| !waiting.is_closed());
            live.pings.insert(number, sender);
            number
        };
        self.send(Kind::Ping(chaos_kitty::v1::Ping { number }));
        receiver
    }

    pub(super) fn pong(&self, number: u64) {
        if let Some(waiting) = self.live().pings.remove(&number) {
            let _ = waiting.send(());
        }
    }

    /// As `ListAgents` shows it.
    pub(super) fn view(&self, targets: usize) -> Agent {
        let hello = &self.hello;
        let live = self.live();
        Agent {
            id: hello.agent_id.clone(),
            connection_id: self.connection_id,
            role: hello.role,
            host: hello.host.clone(),
            pid: hello.pid,
            version: hello.version.clone(),
            labels: hello.labels.clone(),
            path: hello.path.clone(),
            connected_at: Some(Timestamp::from(self.connected_at)),
            last_seen: Some(Timestamp::from(live.last_seen)),
            targets: u32::try_from(targets).unwrap_or(u32::MAX),
            active: u32::try_from(live.held.len()).unwrap_or(u32::MAX),
            boot_id: hello.boot_id.clone(),
            connected: live.attached,
            problem: None,
        }
    }
}
