//! Who is connected, what can be hit, and the way to it.
//!
//! | module | job |
//! |---|---|
//! | `stream`, `session` | one Attach stream: messages in, messages out, the nodes it carries |
//! | `mailbox` | what waits to be sent on a stream, bounded |
//! | `identity` | who a node is by its Hello and its socket; the target that a worker is |
//! | `attach`, `departure` | how nodes come and go |
//! | `node` | one attached agent or worker |
//! | `lease`, `renewals` | the server's side of a node's lease, and when it is renewed |
//! | `targets`, `roster`, `peak` | who can be hit, with indexes; how large a group lately was |
//! | `dispatch`, `step` | orders on their way to nodes, and steps of experiments |
//! | `script` | contents of scripts, before the orders that name them |
//! | `ledger` | the port by which news of actions goes up |
//! | `losses` | counters |

mod attach;
mod departure;
mod dispatch;
mod identity;
mod lease;
mod ledger;
mod losses;
mod mailbox;
mod node;
mod peak;
mod renewals;
mod roster;
mod script;
mod session;
mod step;
mod stream;
mod targets;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem,
    v1::{Agent, AgentMessage, Platform, Selector, Target, platform::health::State as Health},
};
use tokio::{task::AbortHandle, time::Instant};
use tonic::Streaming;

pub(crate) use dispatch::is_over;
pub use dispatch::{Dispatcher, Order, Sent, Unreached};
pub use ledger::{Ledger, Left, Standing};
pub use losses::Losses;
pub use node::Node;
pub(crate) use roster::{GroupKey, GroupView, Process, process};
pub use script::ScriptContents;
pub use stream::AttachStream;

use crate::{
    event::Bus,
    listen::PeerInfo,
    store::Store,
    task::{self, OnPanic, lock},
};
use renewals::Renewals;
use roster::Roster;
use session::Session;

/// Platforms that there are, whether or not an agent offers them at the moment.
pub const PLATFORMS: [&str; 6] = [
    "WorkerPlatform",
    "HostPlatform",
    "ProcessPlatform",
    "SystemdPlatform",
    "DockerPlatform",
    "KubernetesPlatform",
];

/// Kinds of targets that an agent made up, at the most, where automatic experiments are concerned.
const OTHER_PLATFORMS: usize = 64;

/// Times that the fleet goes by.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What a node holds ends this long after the last sign of life of the server.
    pub lease: Duration,
    /// How long an order may take to be acknowledged.
    pub start_timeout: Duration,
    /// How long the largest size of a group counts.
    pub survivor_window: Duration,
}

/// See the module.
pub struct Fleet {
    settings: Settings,
    store: Store,
    bus: Arc<Bus>,
    scripts: ScriptContents,
    /// What was lost or refused.
    pub losses: Losses,
    epoch: AtomicU64,
    stopping: AtomicBool,
    state: Mutex<State>,
    renewals: Arc<Renewals>,
    /// Whoever keeps the book holds the fleet, not the other way.
    ledger: OnceLock<Weak<dyn Ledger>>,
    renewing: OnceLock<AbortHandle>,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Whereabouts {
    /// It can be hit.
    Here(Arc<Target>),
    /// Its node is not attached, has not told yet what it has, or can not see it: nothing is known of it.
    Away,
    /// This life of it is over: its node has it no more, or it ended with its node.
    Gone,
}

#[derive(Debug)]
struct State {
    nodes: HashMap<String, Arc<Node>>,
    roster: Roster,
}

impl Fleet {
    /// An empty fleet, and the one right to start actions in it. It takes nodes once it is started.
    /// `scripts` are those that orders may name.
    pub fn new(
        settings: Settings,
        store: Store,
        bus: Arc<Bus>,
        epoch: u64,
        scripts: ScriptContents,
    ) -> (Arc<Self>, Dispatcher) {
        let fleet = Arc::new(Self {
            settings,
            store,
            bus,
            scripts,
            losses: Losses::default(),
            epoch: AtomicU64::new(epoch),
            stopping: AtomicBool::new(false),
            state: Mutex::new(State { nodes: HashMap::new(), roster: Roster::new(settings.survivor_window) }),
            renewals: Arc::default(),
            ledger: OnceLock::new(),
            renewing: OnceLock::new(),
        });
        (fleet.clone(), Dispatcher { fleet })
    }

    /// Begins to renew leases and to send news of actions there. Once.
    pub fn start(self: &Arc<Self>, ledger: &Arc<dyn Ledger>) {
        if self.ledger.set(Arc::downgrade(ledger)).is_ok() {
            let task = Self::keep_renewing(Arc::downgrade(self), self.renewals.clone());
            let task = task::spawn(OnPanic::Abort, task);
            let _ = self.renewing.set(task.abort_handle());
        }
    }

    /// A node's stream: what it sends is taken in as the answer is polled.
    pub fn attach_stream(self: &Arc<Self>, inbound: Streaming<AgentMessage>, peer: PeerInfo) -> AttachStream {
        AttachStream::new(inbound, Session::new(self.clone(), peer))
    }

    /// Times that it goes by.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// This server's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The targets that a selector means and that can be hit, ordered by name.
    ///
    /// # Errors
    /// [`Code::UnknownPlatform`]; [`Code::Ambiguous`]: the group is on several platforms.
    pub fn roster(&self, selector: &Selector) -> Result<Vec<Arc<Target>>, Problem> {
        let platform = selector.platform_type.as_str();
        let state = self.state();
        let offered = |node: &Arc<Node>| node.hello.platforms.iter().any(|offered| offered == platform);
        if !platform.is_empty() && !PLATFORMS.contains(&platform) && !state.nodes.values().any(offered) {
            return Err(Problem::new(Code::UnknownPlatform, format!("there is no platform {platform:?}"))
                .hint(format!("there are {}", PLATFORMS.join(", "))));
        }
        state.roster.select(selector)
    }

    /// The target of an id, of a unique name, or of `process/HOST/RULE` where that matches exactly one.
    ///
    /// # Errors
    /// [`Code::NoSuchTarget`], [`Code::Ambiguous`] with candidates, [`Code::AgentUnreachable`].
    pub fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem> {
        self.state().roster.resolve(target)
    }

    /// A target that can be hit, by its id.
    pub(crate) fn target(&self, id: &str) -> Option<Arc<Target>> {
        self.state().roster.get(id).cloned()
    }

    /// A node, attached or not, as whoever handles its messages has it.
    #[cfg(test)]
    pub(crate) fn node(&self, id: &str) -> Arc<Node> {
        self.state().nodes[id].clone()
    }

    /// Where this life of a target is.
    pub(crate) fn whereabouts(&self, target: &Target) -> Whereabouts {
        self.state().whereabouts(target)
    }

    /// A target without a node.
    #[cfg(test)]
    pub(crate) fn put_target(&self, target: Arc<Target>) {
        drop(self.state().roster.upsert(target, Instant::now()));
    }

    /// A target of no node goes.
    #[cfg(test)]
    pub(crate) fn drop_target(&self, id: &str) {
        drop(self.state().roster.remove(id, Instant::now()));
    }

    /// The group of a target; `None` for one that belongs to none.
    pub(crate) fn group_of(&self, target: &Target) -> Option<GroupView> {
        self.state().roster.group_of(target, Instant::now())
    }

    /// The groups that are hurt when the target is, its own first.
    pub(crate) fn groups_of(&self, target: &Target) -> Vec<GroupView> {
        self.state().roster.groups_of(target, Instant::now())
    }

    /// An earlier start of the server knew a group of this size, so long ago, and a member of it with that agent.
    pub(crate) fn remember_group(&self, key: GroupKey, size: usize, age: Duration, agent: &str) {
        if let Some(at) = Instant::now().checked_sub(age) {
            self.state().roster.remember(key, size, at, agent);
        }
    }

    /// Those of these agents that are not attached.
    pub(crate) fn absent(&self, agents: &[String]) -> Vec<String> {
        let nodes: Vec<_> = {
            let state = self.state();
            agents.iter().map(|agent| (agent, state.nodes.get(agent).cloned())).collect()
        };
        let is_absent = |node: &Option<Arc<Node>>| node.as_ref().is_none_or(|node| !node.is_attached());
        nodes.into_iter().filter(|(_, node)| is_absent(node)).map(|(agent, _)| agent.clone()).collect()
    }

    /// Since when the health of a target that can be hit is as it is.
    pub(crate) fn health_since(&self, id: &str) -> Option<SystemTime> {
        self.state().roster.since(id)
    }

    /// Targets that can be hit.
    pub fn target_count(&self) -> usize {
        self.state().roster.all().count()
    }

    /// Every node that is attached, or whose lease is not over, ordered by connection.
    pub fn agents(&self) -> Vec<Agent> {
        let nodes: Vec<_> = {
            let state = self.state();
            state.nodes.values().map(|node| (node.clone(), state.roster.count_of(node.id()))).collect()
        };
        let mut agents: Vec<_> = nodes.into_iter().map(|(node, targets)| node.view(targets)).collect();
        agents.sort_by_key(|agent| agent.connection_id);
        agents
    }

    /// The kinds of the targets that can be hit: those of [`PLATFORMS`], then some others, each ordered.
    pub fn platform_types(&self) -> Vec<String> {
        let state = self.state();
        let kinds: BTreeSet<&str> = state.roster.all().map(|target| target.platform_type.as_str()).collect();
        let (ours, others): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| PLATFORMS.contains(kind));
        let others = others.into_iter().take(OTHER_PLATFORMS);
        ours.into_iter().chain(others).map(str::to_owned).collect()
    }

    /// The kinds of targets, and how well they can be seen.
    pub fn platforms(&self) -> Vec<Platform> {
        let (nodes, targets): (Vec<_>, Vec<_>) = {
            let state = self.state();
            (state.nodes.values().cloned().collect(), state.roster.all().cloned().collect())
        };
        let mut found: BTreeMap<String, (Platform, BTreeSet<String>)> = BTreeMap::new();
        let mut watching: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for target in &targets {
            let (platform, groups) = found.entry(target.platform_type.clone()).or_default();
            platform.targets += 1;
            if !target.aggregation_identifier.is_empty() {
                groups.insert(target.aggregation_identifier.clone());
            }
        }
        for node in nodes.iter().filter(|node| node.is_attached()) {
            let worker = node.is_worker().then(|| "WorkerPlatform".to_owned());
            for name in node.hello.platforms.iter().cloned().chain(worker).collect::<BTreeSet<_>>() {
                watching.entry(name.clone()).or_default().push(node.id().to_owned());
                found.entry(name).or_default().0.agents += 1;
            }
            for problem in &node.live().problems {
                let (platform, _) = found.entry(problem.platform_type.clone()).or_default();
                platform.problems.push(format!("{}: {}", node.id(), problem.message));
            }
        }
        let agents = |name: &str| watching.get(name).map(Vec::as_slice).unwrap_or_default();
        let judged = |(name, (platform, groups)): (String, _)| judged(agents(&name), &name, platform, groups);
        found.into_iter().map(judged).collect()
    }

    /// Takes no node any more, and ends all streams: whoever was attached comes again once a server is back.
    pub fn stop_taking(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let nodes: Vec<_> = self.state().nodes.values().cloned().collect();
        for node in nodes {
            node.mailbox().close(attach::stopping());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// `None` before the start, when nothing is attached yet, and at the very end.
    fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.ledger.get().and_then(Weak::upgrade)
    }
}

impl State {
    fn whereabouts(&self, target: &Target) -> Whereabouts {
        match self.roster.get(&target.id) {
            Some(now) if now.incarnation == target.incarnation => Whereabouts::Here(now.clone()),
            Some(_) => Whereabouts::Gone,
            None if self.roster.has_ended(target) => Whereabouts::Gone,
            // Hidden: whoever has it may bring it back.
            None if self.roster.belongs(&target.id, &target.agent_id) => Whereabouts::Away,
            None => {
                let node = self.nodes.get(&target.agent_id);
                let is_gone = node.is_some_and(|node| node.has_listed(&target.platform_type));
                if is_gone { Whereabouts::Gone } else { Whereabouts::Away }
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(task) = self.renewing.get() {
            task.abort();
        }
    }
}

/// Agents that are named where a platform has no targets.
const NAMED: usize = 3;

fn judged(agents: &[String], name: &str, mut platform: Platform, groups: BTreeSet<String>) -> Platform {
    let health = match (platform.problems.len(), platform.targets) {
        (0, 1..) => Health::Ok,
        (problems, 0) if problems > 0 && problems >= platform.agents as usize => Health::Failed,
        _ => Health::Degraded,
    };
    if platform.problems.is_empty() && platform.targets == 0 {
        let named = agents.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = agents.len().checked_sub(NAMED).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
        platform.problems.push(format!(
            "{named}{more}: nothing matches the rules there now; `kitty-agent check` says what each rule matches"
        ));
    }
    platform.platform_type = name.to_owned();
    platform.health = health.into();
    platform.groups = groups.into_iter().collect();
    platform.problems.sort();
    platform
}
