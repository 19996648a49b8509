//! The one door to a fault. Whoever wants to start an action needs a [`Permit`], and only [`Gate::admit`]
//! makes one; it checks everything under one lock, so that faults of all sources count together. The permit
//! lives as long as the target is hurt: dropping it frees the target.
//!
//! `limits` and `rules` have the decisions, `hurt` the book of who is hurt, `told` says so, `engage` targets under
//! experiment, `latch` the halt's file, `admin` the administrative state.

mod admin;
mod engage;
mod hurt;
mod latch;
mod limits;
mod rules;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{Action, ActionStatus, Target, action::Kind, action_result, target_health::State as Health},
};
use tokio::time::Instant;

use crate::fleet::{Dispatcher, Fleet, GroupKey, GroupView, Order, Sent, is_over, process};
use crate::task::lock;
use hurt::{Wound, Wounds};
use latch::Latch;
use limits::Crowd;
use rules::{Resource, already_held, is_healthy};

pub use admin::Admin;
pub use engage::Engaged;
pub use limits::{ACTIVE_MAX, Limits};

/// Killed targets remembered before those that are gone are forgotten.
const KILLED_MAX: usize = 10_000;

/// How old an agent's word on a process may be: it looks at each once a second.
const WORD: Duration = Duration::from_secs(2);

/// See the module.
pub struct Gate {
    fleet: Arc<Fleet>,
    dispatcher: Arc<Dispatcher>,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latch: Latch,
    stopping: bool,
    /// Until then, groups may be larger than they seem.
    settling: Option<Instant>,
    wounds: Wounds,
    /// Targets under experiment, by the experiment's id.
    engaged: Wounds,
    /// Targets that were killed, in which incarnation and when.
    killed: HashMap<String, (String, SystemTime)>,
    /// Targets that were seen to run after their fault, in which incarnation, and until when that counts.
    running: HashMap<String, (String, Instant)>,
    /// Targets of which it is not known what they are under, and until when at the latest.
    unclear: HashMap<String, Instant>,
}

/// How a target and its group stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It is healthy and not hurt.
    pub(crate) is_spared: bool,
    /// How many of its group may be hit now.
    pub(crate) room: usize,
}

impl Gate {
    /// A gate in front of a fleet. `latch` is the path of the halt's file; `None` keeps it in memory. It is halted where
    /// it can not be told whether it is.
    ///
    /// # Errors
    /// [`Code::Untrusted`]: the halt's file is somebody else's.
    pub fn new(
        fleet: Arc<Fleet>,
        dispatcher: Dispatcher,
        limits: Limits,
        latch: Option<PathBuf>,
    ) -> Result<Arc<Self>, Problem> {
        let state = State {
            latch: Latch::open(latch)?,
            stopping: false,
            settling: None,
            wounds: Wounds::default(),
            engaged: Wounds::default(),
            killed: HashMap::new(),
            running: HashMap::new(),
            unclear: HashMap::new(),
        };
        Ok(Arc::new(Self { fleet, dispatcher: Arc::new(dispatcher), limits, state: Mutex::new(state) }))
    }

    /// Agents of an earlier start of the server may come back within this time.
    pub(crate) fn settle_for(&self, time: Duration) {
        self.state().settling = Some(Instant::now() + time);
    }

    /// What this target is under can not be read: its group admits nothing for this long.
    pub(crate) fn bar(&self, target_id: String, time: Duration) {
        let until = Instant::now() + time;
        self.state().unclear.insert(target_id, until);
    }

    /// Why it is halted from the start on, though nobody asked: its latch can not be read.
    pub(crate) fn unreadable_latch(&self) -> Option<(String, String)> {
        self.state().latch.unreadable()
    }

    /// Whether anything is admitted at all, for whoever wants to know before choosing a target.
    ///
    /// # Errors
    /// [`Code::Halted`], [`Code::Stopping`], [`Code::LimitReached`].
    pub(crate) fn is_open(&self) -> Result<(), Problem> {
        self.state().open(&self.limits)
    }

    /// Takes in what an earlier start of the server recorded of an action: how large its group was, and that
    /// its target was killed. Oldest first, before any node is attached.
    pub(crate) fn remember(&self, status: &ActionStatus) {
        if let Some(key) = group_of(&status.platform_type, &status.aggregation_identifier)
            && status.group_size > 0
        {
            let seen = status.ended_at.filter(|_| is_over(status.state()));
            let seen = seen.and_then(Timestamp::system_time);
            let age = seen.and_then(|at| at.elapsed().ok()).unwrap_or_default();
            self.fleet.remember_group(key, status.group_size as usize, age, &status.agent_id);
        }
        if was_killed(status) {
            let at = status.ended_at.and_then(Timestamp::system_time).unwrap_or_else(SystemTime::now);
            self.state().killed.insert(status.target_id.clone(), (status.incarnation.clone(), at));
        }
    }

    /// Lets an action at a target, or says why not.
    ///
    /// # Errors
    /// [`Code::Halted`], [`Code::Stopping`], [`Code::LimitReached`], [`Code::AlreadyHeld`],
    /// [`Code::TooFewSurvivors`], [`Code::Settling`].
    pub(crate) fn admit(
        self: &Arc<Self>,
        id: &str,
        target: &Arc<Target>,
        action: &Action,
    ) -> Result<Permit, Problem> {
        let mut state = self.state();
        state.open(&self.limits)?;
        let resource = Resource::of(action);
        if let Some(resource) = resource
            && let Some(by) = state.wounds.holder(target, resource)
        {
            return Err(already_held(target, resource, &by));
        }
        let groups = self.fleet.groups_of(target);
        let company = groups.iter().flat_map(|group| &group.members);
        company.chain([target]).try_for_each(|member| state.is_clear(member))?;
        let own = group_of(&target.platform_type, &target.aggregation_identifier);
        let leaves = rules::leaves(action);
        for group in &groups {
            self.is_back(&state, group)?;
            let hits =
                group.members.iter().filter(|member| is_same(member, target) && state.is_spared(member));
            let hits = hits.count();
            let taken = leaves.filter(|_| Some(&group.key) == own.as_ref()).map_or(hits, |left| {
                // Of an experiment's target it is known already that it is hit.
                let known = usize::from(state.engaged.has(&target.id));
                group.members.len().saturating_sub(left + known).max(hits)
            });
            self.limits
                .admits(&group.key.1, state.crowd(group), taken)
                .map_err(|problem| self.with_hurt(&state, problem, group))?;
        }
        let group_size =
            groups.iter().find(|group| Some(&group.key) == own.as_ref()).map_or(0, |group| group.peak);
        let since = SystemTime::now();
        let held = action.duration.and_then(|duration| Duration::try_from(duration).ok());
        let until = held.and_then(|held| since.checked_add(held));
        let (target_id, process) = (target.id.clone(), process(target));
        let wound = Wound { target_id, process, group: own, resource, leaves, since, until };
        state.wounds.add(id, wound);
        Ok(Permit { gate: self.clone(), action_id: id.to_owned(), group_size, target: Some(target.clone()) })
    }

    /// Takes in an action that is not over, and that this start did not admit: its target is hurt until it is
    /// settled.
    pub(crate) fn adopt(self: &Arc<Self>, status: &ActionStatus) -> Permit {
        let wound = Wound {
            target_id: status.target_id.clone(),
            process: (!status.process_host.is_empty())
                .then(|| (status.process_host.clone(), status.incarnation.clone())),
            group: group_of(&status.platform_type, &status.aggregation_identifier),
            resource: status.action.as_ref().and_then(Resource::of),
            leaves: status.action.as_ref().and_then(rules::leaves),
            since: status.created_at.and_then(Timestamp::system_time).unwrap_or_else(SystemTime::now),
            until: status.deadline.and_then(Timestamp::system_time),
        };
        self.state().wounds.add(&status.id, wound);
        let group_size = status.group_size as usize;
        Permit { gate: self.clone(), action_id: status.id.clone(), group_size, target: None }
    }

    /// Whether a fault is in force on the target, or may be, or it is under experiment.
    pub(crate) fn is_under_fault(&self, target_id: &str) -> bool {
        let state = self.state();
        state.wounds.has(target_id) || state.engaged.has(target_id)
    }

    /// How each of these targets and its group stand.
    pub(crate) fn standing(&self, targets: &[Arc<Target>]) -> Vec<Standing> {
        let state = self.state();
        let mut rooms: HashMap<(&str, &str), usize> = HashMap::new();
        let mut standing = Vec::with_capacity(targets.len());
        for target in targets {
            let key = (target.platform_type.as_str(), target.aggregation_identifier.as_str());
            let room = *rooms.entry(key).or_insert_with(|| {
                self.fleet.group_of(target).map_or(1, |group| self.limits.room(state.crowd(&group)))
            });
            standing.push(Standing { is_spared: state.is_spared(target), room });
        }
        standing
    }

    /// Since when nothing is admitted because of a halt.
    pub(crate) fn halted_at(&self) -> Option<SystemTime> {
        self.state().latch.since()
    }

    /// Admits nothing from now on, across restarts, until [`Self::resume`].
    ///
    /// # Errors
    /// The halt holds, but would not survive a restart.
    pub(crate) fn halt(&self, reason: &str) -> Result<(), Problem> {
        self.state().latch.set(reason)
    }

    /// Admits again, and lets the nodes start actions. False if nothing was halted.
    ///
    /// # Errors
    /// The halt goes on.
    pub(crate) fn resume(&self) -> Result<bool, Problem> {
        let was_halted = self.state().latch.clear()?;
        self.fleet.unlatch();
        Ok(was_halted)
    }

    /// Admits nothing from now on: the server is stopping.
    pub(crate) fn stop(&self) {
        self.state().stopping = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn open(&self, limits: &Limits) -> Result<(), Problem> {
        if self.latch.since().is_some() {
            return Err(Problem::new(Code::Halted, "the fleet is halted: nothing is admitted")
                .hint("kittyctl resume ends the halt"));
        }
        if self.stopping {
            return Err(Problem::new(Code::Stopping, "the server is stopping: nothing is admitted")
                .hint("try again once it is back"));
        }
        limits.admits_one_more(self.wounds.len())
    }

    /// How much longer agents of an earlier start may come back.
    fn settling(&self) -> Option<Duration> {
        self.settling.map(|until| until - Instant::now()).filter(|left| !left.is_zero())
    }

    /// Whether it is known what the target is under.
    fn is_clear(&self, target: &Target) -> Result<(), Problem> {
        let left =
            self.unclear.get(&target.id).and_then(|until| until.checked_duration_since(Instant::now()));
        let Some(left) = left.filter(|left| !left.is_zero()) else { return Ok(()) };
        let what =
            format!("the record of an action on {} can not be read, and it may still be hurt", target.name);
        let hint =
            format!("its group is open again in {} s at the latest; see `kittyd check`", left.as_secs() + 1);
        Err(Problem::new(Code::Unclear, what).hint(hint))
    }

    /// Healthy, nothing under way to it, not under experiment, and not killed in this incarnation.
    fn is_spared(&self, target: &Target) -> bool {
        let hurt = self.wounds.of(target).chain(self.engaged.of(target)).next().is_some();
        self.is_well(target) && self.killed_at(target).is_none() && !hurt && self.is_clear(target).is_ok()
    }

    /// By its platform, or by what was seen of it since its platform looked.
    fn is_well(&self, target: &Target) -> bool {
        let seen = self.running.get(&target.id);
        let runs = |(incarnation, until): &(String, Instant)| {
            *incarnation == target.incarnation && *until > Instant::now()
        };
        is_healthy(target) || target.health() == Health::Unknown && seen.is_some_and(runs)
    }

    fn killed_at(&self, target: &Target) -> Option<SystemTime> {
        let (incarnation, at) = self.killed.get(&target.id)?;
        (*incarnation == target.incarnation).then_some(*at)
    }

    fn crowd(&self, group: &GroupView) -> Crowd {
        let spared = group.members.iter().filter(|member| self.is_spared(member)).count();
        let spared = spared.min(self.wounds.leaves(&group.key));
        Crowd { peak: group.peak, spared, faults: self.wounds.in_group(group) }
    }
}

fn group_of(platform: &str, name: &str) -> Option<GroupKey> {
    (!name.is_empty()).then(|| (platform.to_owned(), name.to_owned()))
}

/// Whether both are one target, or one process under two names.
fn is_same(one: &Target, other: &Target) -> bool {
    one.id == other.id || process(one).is_some_and(|process_of| process(other) == Some(process_of))
}

/// Its target was seen to end by a kill, or was ended for a restart.
fn was_killed(status: &ActionStatus) -> bool {
    let kind = status.action.as_ref().and_then(|action| action.kind.as_ref());
    let result = status.result.as_ref().and_then(|result| result.kind.as_ref());
    match (kind, result) {
        (Some(Kind::Kill(_)), Some(action_result::Kind::Kill(kill))) => kill.ended,
        (Some(Kind::Restart(_)), Some(action_result::Kind::Restart(_))) => true,
        _ => false,
    }
}

/// The right to start one action on one target, and the mark that the target is hurt. Dropped when the
/// action is over.
pub struct Permit {
    gate: Arc<Gate>,
    action_id: String,
    group_size: usize,
    /// `None` for an action of an earlier start: it is not started again.
    target: Option<Arc<Target>>,
}

impl Permit {
    /// Sends the order. `sent` is set just before.
    ///
    /// # Errors
    /// Nothing was sent: [`Code::TargetGone`], [`Code::Recycled`], [`Code::AgentUnreachable`].
    pub(crate) fn dispatch(
        &self,
        action: Action,
        traceparent: String,
        sent: Arc<OnceLock<Sent>>,
    ) -> impl Future<Output = Result<(), Problem>> + Send + use<> {
        let dispatcher = self.gate.dispatcher.clone();
        let (action_id, target) = (self.action_id.clone(), self.target.clone());
        async move {
            let Some(target) = target else {
                return Err(Problem::internal("an action of an earlier start was to be started again"));
            };
            dispatcher.start(&Order { action_id, target, action, traceparent }, &sent).await
        }
    }

    /// Size of the target's group when it was admitted; 0: it belongs to none.
    pub(crate) const fn group_size(&self) -> usize {
        self.group_size
    }

    /// What became of the action: a killed target counts as hurt until it lives in another incarnation, and one that is
    /// seen to run again is well.
    pub(crate) fn ended(&self, status: &ActionStatus) {
        let mut state = self.gate.state();
        if rules::runs_again(status) {
            let now = Instant::now();
            state.running.retain(|_, (_, until)| *until > now);
            state.running.insert(status.target_id.clone(), (status.incarnation.clone(), now + WORD));
        }
        if !was_killed(status) {
            return;
        }
        if state.killed.len() >= KILLED_MAX {
            let fleet = &self.gate.fleet;
            state.killed.retain(|id, (incarnation, _)| {
                fleet.target(id).is_some_and(|now| now.incarnation == *incarnation)
            });
        }
        let killed = (status.incarnation.clone(), SystemTime::now());
        state.killed.insert(status.target_id.clone(), killed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state().wounds.remove(&self.action_id);
    }
}
