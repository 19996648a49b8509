//! Carries out orders: admission, one order of steps for every action, and what is known of those in force.
//!
//! The guard ends faults, not the executor: see `docs/decisions/0002-life-of-a-fault.md`. Whether an order is
//! fresh (lease, epoch) is the uplink's to check before it calls [`Executor::start`].

mod admission;
mod claims;
mod guard;
mod life;
mod memory;
mod protected;
mod recorded;
pub(crate) mod recovery;
mod report;
pub(crate) mod step;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chaos_kitty::{
    Problem,
    lease::boot_time,
    v1::{self, end_reason, end_reason::Name as EndReason},
};
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use crate::{action::Scripts, journal::Journal, platform::Subject, policy::Policy};
use claims::Claims;
use guard::Link;
use memory::Memory;
use report::Reports;
use step::Steps;

/// Reports that may wait for the uplink.
const REPORTS: usize = 1024;

/// How an executor is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program `kitty-guard`.
    pub guard: PathBuf,
    /// Faults in force at a time, at the most.
    pub max_held: usize,
    /// What the owner of the host allows.
    pub policy: Policy,
    /// The journal's folder.
    pub journal: PathBuf,
    /// The file that remembers steps of experiments.
    pub steps: PathBuf,
    /// The lock on the state folder; the guard holds it too, until everything is put back.
    pub lock: Option<Arc<File>>,
    /// Ids of the actions that the guard of an earlier agent has put back.
    pub put_back: Vec<String>,
}

impl Settings {
    /// Faults in force at a time unless configured otherwise.
    pub const MAX_HELD: usize = 256;

    /// The guard beside the running program.
    ///
    /// # Errors
    /// The running program can not be found.
    pub fn guard_beside_this_program() -> std::io::Result<PathBuf> {
        Ok(std::env::current_exe()?.with_file_name("kitty-guard"))
    }
}

/// Finds a target that is there now, by its id.
pub type FindTarget = dyn Fn(&str) -> Option<Arc<Subject>> + Send + Sync;

/// A handle; clones are the same executor. All of its methods are for use within a tokio runtime.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    /// The owner may change it.
    policy: Mutex<Policy>,
    find: Box<FindTarget>,
    link: Link,
    reports: Reports,
    steps: Steps,
    state: Mutex<State>,
    /// How many actions are not over.
    live: watch::Sender<usize>,
}

struct State {
    latched: bool,
    closing: bool,
    lease_until: Duration,
    live: BTreeMap<String, Live>,
    finished: Memory,
    claims: Claims,
    /// Those that orders may name.
    scripts: Scripts,
    /// Or why nothing is admitted.
    journal: Result<Journal, Problem>,
    /// What could not be put back, of this agent's and of an earlier one's.
    stuck: Vec<v1::ActionReport>,
}

/// An action that is not over.
struct Live {
    action: Option<v1::Action>,
    /// The last report, for a new stream's Hello.
    latest: v1::ActionReport,
    /// When it ends at the latest, on CLOCK_BOOTTIME, once it is in force.
    deadline: Option<Duration>,
    holds: bool,
    stop: watch::Sender<Option<EndReason>>,
}

impl Executor {
    /// Starts the guard. It admits nothing until the guard is there, [`Self::recover`] has put back what was left,
    /// and the lease was renewed.
    ///
    /// The receiver gives reports in order, their `sequence` unset.
    pub fn new(settings: Settings, find: Box<FindTarget>) -> (Self, mpsc::Receiver<v1::ActionReport>) {
        let (reports, receiver) = Reports::new(REPORTS);
        let link = Link::start(settings.guard.clone(), settings.lock.clone());
        let steps = Steps::open(settings.steps.clone());
        let state = Mutex::new(State::new());
        let policy = Mutex::new(settings.policy.clone());
        let shared =
            Shared { settings, policy, find, link, reports, steps, state, live: watch::Sender::new(0) };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    /// What the owner of the host allows from here on. What is in force goes on.
    pub fn govern(&self, policy: Policy) {
        *self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Starts an action, or reports why not. Never blocks. An id that is known starts nothing.
    pub fn start(&self, order: v1::StartAction) {
        let mut state = self.shared.state();
        if state.live.contains_key(&order.action_id) || state.finished.knows(&order.action_id, boot_time()) {
            return;
        }
        match admission::admit(&self.shared, &mut state, &order) {
            Ok(admitted) => {
                let (stop, stopped) = watch::channel(None);
                let live = Live {
                    action: order.action.clone(),
                    latest: report::of(&order, v1::action_state::Name::Accepted),
                    deadline: None,
                    holds: admitted.fault.resource().is_some(),
                    stop,
                };
                state.live.insert(order.action_id.clone(), live);
                self.shared.live.send_replace(state.live.len());
                drop(state);
                // Within the caller's trace.
                tokio::spawn(life::live(self.shared.clone(), order, admitted, stopped).in_current_span());
            }
            Err(problem) => {
                state.finished.remember(order.action_id.clone(), boot_time());
                drop(state);
                self.shared.reports.send(report::refused(&order, problem));
            }
        }
    }

    /// Reports that an order was turned down before it came here: too late, or of a server that is not obeyed.
    pub fn refuse(&self, order: &v1::StartAction, problem: Problem) {
        self.shared.reports.send(report::refused(order, problem));
    }

    /// Keeps a script for orders that name its hash.
    ///
    /// # Errors
    /// It is not what it is said to be.
    pub fn keep_script(&self, script: v1::ScriptContent) -> Result<(), Problem> {
        self.shared.state().scripts.keep(script)
    }

    /// Reverts one action. Unknown id: it is over already.
    pub fn stop(&self, id: &str) {
        if let Some(live) = self.shared.state().live.get(id) {
            live.stop(EndReason::Stopped);
        }
    }

    /// Reverts everything, now. Whether something may be started afterwards is [`Self::latch`]'s.
    pub fn revert_all(&self) {
        self.shared.state().stop_all(EndReason::Halted);
    }

    /// Admits nothing until [`Self::unlatch`].
    pub fn latch(&self) {
        self.shared.state().latched = true;
    }

    /// Admits again.
    pub fn unlatch(&self) {
        self.shared.state().latched = false;
    }

    /// Whether nothing is admitted.
    pub fn is_latched(&self) -> bool {
        self.shared.state().latched
    }

    /// Passes a renewed lease on to the guard: everything ends at this time at the latest, on CLOCK_BOOTTIME.
    /// An earlier time than before changes nothing.
    pub fn renew(&self, lease_until: Duration) {
        let mut state = self.shared.state();
        state.lease_until = state.lease_until.max(lease_until);
        self.shared.link.renew(state.lease_until);
    }

    /// Every action that is not over: its last report, what remains, and the action itself. With those that
    /// could not be put back, of an earlier agent too.
    pub fn held(&self) -> Vec<v1::ActionReport> {
        let (now, state) = (boot_time(), self.shared.state());
        state.live.values().map(|live| live.report(now)).chain(state.stuck.iter().cloned()).collect()
    }

    /// After a reconnect: reverts what the server does not know.
    pub fn keep_only(&self, known: &[String]) {
        let state = self.shared.state();
        for (_, live) in state.live.iter().filter(|(id, _)| !known.contains(id)) {
            live.stop(EndReason::Stopped);
        }
    }

    /// How many actions are not over; changes are seen.
    pub fn live(&self) -> watch::Receiver<usize> {
        self.shared.live.subscribe()
    }

    /// Reports that were lost because nobody took them in.
    pub fn lost_reports(&self) -> u64 {
        self.shared.reports.lost()
    }

    /// Reverts everything with evidence, then ends the guard. Returns when all is over.
    pub async fn shutdown(&self) {
        {
            let mut state = self.shared.state();
            state.closing = true;
            state.stop_all(EndReason::Shutdown);
        }
        let idle = self.live().wait_for(|live| *live == 0).await.map(drop);
        if idle.is_err() {
            tracing::error!("the executor went away while it was shut down");
        }
        self.shared.link.close().await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind the lock is consistent at every step, so that a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the owner of the host allows now.
    fn policy(&self) -> Policy {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports, and keeps the report for a new stream's Hello.
    fn report(&self, report: v1::ActionReport) {
        if let Some(live) = self.state().live.get_mut(&report.action_id) {
            live.latest = report.clone();
        }
        self.reports.send(report);
    }
}

impl State {
    fn new() -> Self {
        Self {
            latched: false,
            closing: false,
            lease_until: Duration::ZERO,
            live: BTreeMap::new(),
            finished: Memory::default(),
            claims: Claims::default(),
            scripts: Scripts::default(),
            journal: Err(recovery::not_yet()),
            stuck: Vec::new(),
        }
    }

    fn stop_all(&self, reason: EndReason) {
        for live in self.live.values() {
            live.stop(reason);
        }
    }
}

impl Live {
    /// The first reason stays.
    fn stop(&self, reason: EndReason) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(reason);
            first
        });
    }

    fn report(&self, now: Duration) -> v1::ActionReport {
        let mut report = self.latest.clone();
        report.remaining = self.deadline.map(|deadline| deadline.saturating_sub(now).into());
        report.action.clone_from(&self.action);
        report
    }
}

/// An action that is not over. When dropped it is: whatever happened to it, its claims are free and its id is
/// remembered.
struct Tenure {
    shared: Arc<Shared>,
    id: String,
    last: Option<v1::ActionReport>,
}

impl Tenure {
    fn new(shared: Arc<Shared>, id: String) -> Self {
        Self { shared, id, last: None }
    }

    /// Its end, with the last report. At each moment an action is among those [`Executor::held`], or its last
    /// report was made: a new stream's Hello never lacks both.
    fn over(mut self, last: v1::ActionReport) {
        self.last = Some(last);
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let live = state.live.remove(&self.id);
        state.claims.release(&self.id);
        state.finished.remember(std::mem::take(&mut self.id), boot_time());
        if let Some(last) = self.last.take() {
            if last.state() == v1::action_state::Name::Stuck {
                let action = live.and_then(|live| live.action);
                state.stuck.push(v1::ActionReport { action, ..last.clone() });
            }
            self.shared.reports.send(last);
        }
        self.shared.live.send_replace(state.live.len());
    }
}

/// Why the guard ended a fault, as it is reported. An order of ours has its own reason.
const fn reason_of(why: chaos_kitty_guard::message::Why) -> Option<end_reason::Name> {
    use chaos_kitty_guard::message::Why;
    match why {
        Why::Deadline => Some(EndReason::Deadline),
        Why::Lease => Some(EndReason::Lease),
        Why::AgentGone => Some(EndReason::AgentGone),
        Why::Signal | Why::GuardGone => Some(EndReason::GuardGone),
        Why::Ordered => None,
    }
}
