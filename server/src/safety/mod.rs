//! The one door to a fault. Whoever wants to start an action needs a [`Permit`], and only [`Gate::admit`]
//! makes one; it checks everything under one lock, so that faults of all sources count together. The permit
//! lives as long as the target is hurt: dropping it frees the target.
//!
//! `rules` has the decisions, `hurt` the book of who is hurt, `latch` the halt's file.

mod hurt;
mod latch;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem,
    v1::{Action, ActionStatus, Target},
};
use tokio::time::Instant;

use crate::fleet::{Dispatcher, Fleet, Order, Sent};
use hurt::Wounds;
use latch::Latch;
use rules::{Resource, Survivors, already_held, is_healthy, leaves_survivors, process};

/// Actions under way or in force at a time, over the whole fleet.
pub const ACTIVE_MAX: usize = 10_000;

/// Killed targets remembered before those that are gone are forgotten.
const KILLED_MAX: usize = 10_000;

/// See the module.
pub struct Gate {
    fleet: Arc<Fleet>,
    dispatcher: Arc<Dispatcher>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    latch: Latch,
    stopping: bool,
    /// Until then, groups may be larger than they seem.
    settling: Option<Instant>,
    wounds: Wounds,
    /// Targets that were killed, in this incarnation.
    killed: HashMap<String, String>,
}

/// How a target and its group stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// It is healthy and not hurt.
    pub(crate) is_spared: bool,
    /// Its group's largest size within the window; 1 for a target that belongs to none.
    pub(crate) peak: usize,
    /// Members of its group that are healthy and not hurt, itself included.
    pub(crate) spared: usize,
}

impl Gate {
    /// A gate in front of a fleet. `latch` is the path of the halt's file; `None` keeps it in memory.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: it can not be told whether the server is halted.
    pub fn new(
        fleet: Arc<Fleet>,
        dispatcher: Dispatcher,
        latch: Option<PathBuf>,
    ) -> Result<Arc<Self>, Problem> {
        let state = State {
            latch: Latch::open(latch)?,
            stopping: false,
            settling: None,
            wounds: Wounds::default(),
            killed: HashMap::new(),
        };
        Ok(Arc::new(Self { fleet, dispatcher: Arc::new(dispatcher), state: Mutex::new(state) }))
    }

    /// Agents of an earlier start of the server may come back within this time.
    pub(crate) fn settle_for(&self, time: Duration) {
        self.state().settling = Some(Instant::now() + time);
    }

    /// Whether anything is admitted at all, for whoever wants to know before choosing a target.
    ///
    /// # Errors
    /// [`Code::Halted`], [`Code::Stopping`], [`Code::LimitReached`].
    pub(crate) fn is_open(&self) -> Result<(), Problem> {
        self.state().open()
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
        state.open()?;
        let resource = Resource::of(action);
        if let Some(resource) = resource
            && let Some(by) = state.wounds.holder(target, resource)
        {
            return Err(already_held(target, resource, &by));
        }
        if let Some(group) = self.fleet.group_of(target) {
            let settling = state.settling.is_some_and(|until| Instant::now() < until);
            let others = group.members.iter().filter(|other| other.id != target.id && state.is_spared(other));
            leaves_survivors(target, &Survivors { others: others.count(), peak: group.peak, settling })?;
        }
        state.wounds.add(id, &target.id, process(target), resource);
        Ok(Permit { gate: self.clone(), action_id: id.to_owned(), target: Some(target.clone()) })
    }

    /// Takes in an action of an earlier start of the server: its target is hurt until it is settled.
    pub(crate) fn adopt(self: &Arc<Self>, status: &ActionStatus) -> Permit {
        let resource = status.action.as_ref().and_then(Resource::of);
        self.state().wounds.add(&status.id, &status.target_id, None, resource);
        Permit { gate: self.clone(), action_id: status.id.clone(), target: None }
    }

    /// Whether a fault is in force on the target, or may be.
    pub(crate) fn is_under_fault(&self, target_id: &str) -> bool {
        self.state().wounds.has(target_id)
    }

    /// How each of these targets and its group stand.
    pub(crate) fn standing(&self, targets: &[Arc<Target>]) -> Vec<Standing> {
        let state = self.state();
        let mut groups: HashMap<(&str, &str), (usize, usize)> = HashMap::new();
        let mut standing = Vec::with_capacity(targets.len());
        for target in targets {
            let key = (target.platform_type.as_str(), target.aggregation_identifier.as_str());
            let (peak, spared) = *groups.entry(key).or_insert_with(|| {
                self.fleet.group_of(target).map_or((1, 1), |group| {
                    let spared = group.members.iter().filter(|member| state.is_spared(member)).count();
                    (group.peak, spared)
                })
            });
            standing.push(Standing { is_spared: state.is_spared(target), peak, spared });
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&self) -> Result<(), Problem> {
        if self.latch.since().is_some() {
            return Err(Problem::new(Code::Halted, "the fleet is halted: nothing is admitted")
                .hint("kittyctl resume ends the halt"));
        }
        if self.stopping {
            return Err(Problem::new(Code::Stopping, "the server is stopping: nothing is admitted")
                .hint("try again once it is back"));
        }
        if self.wounds.len() >= ACTIVE_MAX {
            let message = format!("{ACTIVE_MAX} actions are under way or in force");
            return Err(Problem::new(Code::LimitReached, message).hint("wait until some are over"));
        }
        Ok(())
    }

    /// Healthy, nothing under way to it, and not killed in this incarnation.
    fn is_spared(&self, target: &Target) -> bool {
        is_healthy(target)
            && self.killed.get(&target.id) != Some(&target.incarnation)
            && !self.wounds.is_hurt(target)
    }
}

/// The right to start one action on one target, and the mark that the target is hurt. Dropped when the
/// action is over.
pub struct Permit {
    gate: Arc<Gate>,
    action_id: String,
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

    /// The target was killed: it counts as hurt until it lives in another incarnation.
    pub(crate) fn killed(&self) {
        let Some(target) = &self.target else { return };
        let mut state = self.gate.state();
        if state.killed.len() >= KILLED_MAX {
            let fleet = &self.gate.fleet;
            state.killed.retain(|id, incarnation| {
                fleet.target(id).is_some_and(|now| now.incarnation == *incarnation)
            });
        }
        state.killed.insert(target.id.clone(), target.incarnation.clone());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state().wounds.remove(&self.action_id);
    }
}
