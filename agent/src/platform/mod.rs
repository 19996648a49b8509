//! Where: the kinds of targets that this host offers, found and kept current.
//!
//! Each platform is a twin of the others: `mod` names it, `discover` finds its targets, `health` says how they are,
//! `handle` is the way to whoever runs them, `rules` say which are offered. It publishes what it sees into one
//! [`Roster`], which the uplink follows and the executor asks.

pub mod docker;
pub mod host;
pub mod kubernetes;
pub mod listed;
pub mod process;
pub mod recycle;
pub mod supervisor;
pub mod support;
pub mod systemd;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chaos_kitty::{
    Code, Problem,
    v1::{self, Target},
};
use chaos_kitty_guard::Process;
use tokio::{sync::watch, task::JoinSet};

use crate::host::cgroup::Extent;
use kubernetes::handle::PodHandle;
use listed::Listed;
use supervisor::Supervisor;

/// Who offers the targets.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The agent's id, stable across its restarts.
    pub agent_id: String,
    /// The host's name, as the agent gives it.
    pub host: String,
    /// The agent's labels; `group` is the host's group.
    pub labels: BTreeMap<String, String>,
}

/// A target as actions see it.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// What the server is told of it, with the actions that its platform offers.
    pub target: v1::Target,
    /// Its main process. `None` for a host.
    pub main: Option<Process>,
    /// The name of the cgroup that it owns, see [`Extent`].
    pub cgroup: Option<Arc<str>>,
    /// Who runs it. `None`: nobody that this agent talks to.
    pub supervisor: Option<Arc<dyn Supervisor>>,
    /// The pod that it is.
    pub pod: Option<Arc<PodHandle>>,
}

impl Subject {
    /// Refuses what needs the processes of a pod that has none here: without a main process it would be done to the host.
    ///
    /// # Errors
    /// [`Code::Unsupported`].
    pub fn has_its_processes_here(&self, what: &str) -> Result<(), Problem> {
        if self.pod.is_none() || self.main.is_some() {
            return Ok(());
        }
        let Target { name, host, .. } = &self.target;
        let what =
            format!("{what} on pod {name} needs its processes, and they are on node {host:?}, not here");
        Err(Problem::new(Code::Unsupported, what)
            .hint("run an agent on that node: packaging/kubernetes/node-agents.yaml"))
    }

    /// The processes that it is. `None` for a host.
    pub fn extent(&self) -> Option<Extent> {
        Some(Extent { main: self.main?, cgroup: self.cgroup.clone() })
    }
}

/// Targets by their id.
pub type Targets = BTreeMap<Arc<str>, Arc<Listed>>;

/// All targets of this host at one moment. To clone it is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// By platform type. Ids are unique among all of them.
    pub targets: BTreeMap<&'static str, Arc<Targets>>,
    /// By platform type: why a platform can not see its targets.
    pub problems: BTreeMap<&'static str, String>,
    /// Platforms that see none of their targets: they have not looked yet, or who tells them does not answer.
    pub blind: BTreeSet<&'static str>,
}

impl Roster {
    /// All of them, of whatever platform.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Listed>> {
        self.targets.values().flat_map(|targets| targets.values())
    }

    /// The target of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Listed>> {
        self.targets.values().find_map(|targets| targets.get(id))
    }
}

/// A kind of targets and the way to find them.
pub trait Platform: Send + 'static {
    /// As the contract names it, e.g. `ProcessPlatform`.
    const TYPE: &'static str;

    /// Keeps its part of the roster current for as long as it is polled.
    fn watch(self, publisher: Publisher) -> impl Future<Output = ()> + Send;
}

/// A platform's access to its part of the roster.
#[derive(Clone, Debug)]
pub struct Publisher {
    platform_type: &'static str,
    roster: Arc<watch::Sender<Roster>>,
}

impl Publisher {
    /// Replaces the platform's targets: these are all that there are. Whoever follows the roster is woken only if something
    /// changed.
    pub fn replace(&self, targets: impl IntoIterator<Item = impl Into<Arc<Listed>>>) {
        let targets = targets.into_iter().map(Into::into);
        let next: Targets = targets.map(|listed| (listed.id().clone(), listed)).collect();
        self.roster.send_if_modified(|roster| {
            let was_blind = roster.blind.remove(self.platform_type);
            let mine = roster.targets.entry(self.platform_type).or_default();
            let changed = next != **mine;
            *mine = Arc::new(next);
            changed || was_blind
        });
    }

    /// The platform can not see its targets any more: they are offered no longer, and are not gone.
    pub fn lost(&self, why: String) {
        self.roster.send_if_modified(|roster| {
            let had = roster.targets.insert(self.platform_type, Arc::default());
            let newly = roster.blind.insert(self.platform_type);
            let before = roster.problems.insert(self.platform_type, why.clone());
            newly || before != Some(why) || had.is_some_and(|had| !had.is_empty())
        });
    }

    /// Says why the platform can not see its targets; `None`: it sees them.
    pub fn problem(&self, problem: Option<String>) {
        self.roster.send_if_modified(|roster| {
            let before = roster.problems.get(self.platform_type) != problem.as_ref();
            match problem {
                Some(why) => roster.problems.insert(self.platform_type, why),
                None => roster.problems.remove(self.platform_type),
            };
            before
        });
    }
}

/// The platforms of this agent and their common roster. Dropping it ends their watching.
#[derive(Debug)]
pub struct Platforms {
    roster: Arc<watch::Sender<Roster>>,
    types: Vec<&'static str>,
    watchers: JoinSet<()>,
}

impl Default for Platforms {
    fn default() -> Self {
        let roster = Arc::new(watch::Sender::default());
        Self { roster, types: Vec::new(), watchers: JoinSet::new() }
    }
}

impl Platforms {
    /// Offers one platform more. Needs a tokio runtime.
    pub fn add<P: Platform>(&mut self, platform: P) {
        self.types.push(P::TYPE);
        self.roster.send_if_modified(|roster| roster.blind.insert(P::TYPE));
        self.watchers
            .spawn(platform.watch(Publisher { platform_type: P::TYPE, roster: self.roster.clone() }));
    }

    /// The types of the platforms that were added, in their order.
    pub fn types(&self) -> &[&'static str] {
        &self.types
    }

    /// The roster, now and whenever it changes.
    pub fn roster(&self) -> watch::Receiver<Roster> {
        self.roster.subscribe()
    }

    /// The target of that id, if it is there now.
    pub fn subject(&self, id: &str) -> Option<Arc<Subject>> {
        self.roster.borrow().get(id).map(|listed| Arc::new(listed.subject()))
    }
}

#[cfg(test)]
mod tests;
