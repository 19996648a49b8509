//! One experiment that is not over, and what is seen of it.

use std::{sync::Arc, time::SystemTime};

use chaos_kitty::{
    Problem, Timestamp,
    v1::{
        ActionStatus, AdminStateResponse, Experiment, Target, action_state::Name as ActionState,
        end_reason::Name as Reason, experiment_state::Name as State, target_health::State as Health,
    },
};
use tokio::{sync::watch, time::Instant};

use super::{
    life::{Fault, Presence, Seen},
    method::Method,
    micros,
    port::{Engagement, Sight},
};

/// See the module.
pub(super) struct Entry {
    news: watch::Sender<Experiment>,
    pub(super) method: Arc<Method>,
    pub(super) target: Arc<Target>,
    /// How many of its group were well when it was built.
    pub(super) company: usize,
    pub(super) fault: Fault,
    /// Since when nothing of the fault is in force any more.
    over_since: Option<SystemTime>,
    end_reason: Reason,
    /// How the target was when it was last looked at.
    pub(super) presence: Presence,
    away_since: Option<SystemTime>,
    /// Something is under way: it is looked at when that is through.
    pub(super) busy: bool,
    /// Something was tried since the last tick, and is not tried again before the next one.
    pub(super) tried: bool,
    /// Driving it panicked, once.
    pub(super) panicked: bool,
    /// When it is looked at, news or none.
    pub(super) due: Option<SystemTime>,
    /// Why it is to end: somebody stopped it.
    pub(super) abort: Option<String>,
    /// Why it was to end before its time when it was last looked at, whoever wants that.
    cut: Option<String>,
    pub(super) refused: Option<Problem>,
    pub(super) checked: Option<bool>,
    pub(super) finalized: Option<Result<(), Problem>>,
    /// When its last change was seen here, on a clock that nobody sets.
    changed_at: Instant,
    _engagement: Box<dyn Engagement>,
}

impl Entry {
    pub(super) fn new(
        experiment: Experiment,
        method: Arc<Method>,
        company: usize,
        engagement: Box<dyn Engagement>,
    ) -> Self {
        Self {
            target: Arc::new(experiment.container.clone().unwrap_or_default()),
            end_reason: experiment.end_reason(),
            news: watch::Sender::new(experiment),
            method,
            company,
            fault: Fault::None,
            over_since: None,
            presence: Presence::Well,
            away_since: None,
            cut: None,
            busy: false,
            tried: true,
            panicked: false,
            due: None,
            abort: None,
            refused: None,
            checked: None,
            finalized: None,
            changed_at: Instant::now(),
            _engagement: engagement,
        }
    }

    /// As it is now.
    pub(super) fn experiment(&self) -> watch::Ref<'_, Experiment> {
        self.news.borrow()
    }

    /// The key of its suite.
    pub(super) fn suite(&self) -> i64 {
        self.experiment().suite.map_or(0, micros)
    }

    /// As it is now, and each change.
    pub(super) fn follow(&self) -> watch::Receiver<Experiment> {
        self.news.subscribe()
    }

    /// Where its changes are told.
    pub(super) fn teller(&self) -> watch::Sender<Experiment> {
        self.news.clone()
    }

    /// Takes in what is known of its fault.
    pub(super) fn take_in(&mut self, status: &ActionStatus) {
        self.fault = fault(status);
        self.end_reason = status.end_reason();
    }

    /// Takes in how the target is now. A life that is over stays so, whatever becomes of its agent.
    pub(super) fn look(&mut self, sight: &Sight, now: SystemTime) {
        let seen = presence(sight);
        if !(self.presence == Presence::Gone && seen == Presence::Away) {
            self.presence = seen;
        }
        self.away_since = (seen == Presence::Away).then(|| self.away_since.unwrap_or(now).min(now));
        let is_over = self.fault.is_over() && self.fault != Fault::None;
        self.over_since = is_over.then(|| self.over_since.unwrap_or(now).min(now));
    }

    /// All that a decision is made of.
    pub(super) fn seen(
        &mut self,
        now: SystemTime,
        admin: &AdminStateResponse,
        group_is_back: bool,
        suite: Option<String>,
    ) -> Seen {
        let seen = Seen {
            now,
            admin: admin.state(),
            halted: admin.halted,
            target: self.presence,
            away_since: self.away_since,
            group_is_back,
            fault: self.fault.clone(),
            over_since: self.over_since,
            fresh: !self.tried,
            abort: self.abort.clone().or(suite),
            refused: self.refused.clone(),
            checked: self.checked,
            finalized: self.finalized.clone(),
        };
        self.cut = seen.cut();
        seen
    }

    /// The time for it: by the wall clock, but no earlier than what is recorded of it and the time since then. A clock
    /// that was set ahead when that was recorded, and then back, would else let it wait until it is there again.
    pub(super) fn now(&self, wall: SystemTime) -> SystemTime {
        let experiment = self.experiment();
        let last = experiment.transitions.last().and_then(|last| last.at);
        let recorded = [last, experiment.last_self_healing_time].into_iter().flatten();
        let recorded = recorded.filter_map(Timestamp::system_time).max();
        let least = recorded.and_then(|recorded| recorded.checked_add(self.changed_at.elapsed()));
        least.map_or(wall, |least| least.max(wall))
    }

    /// Takes in a change that is recorded.
    pub(super) fn changed(&mut self, experiment: &Experiment) {
        self.changed_at = Instant::now();
        if experiment.experiment_state != self.experiment().experiment_state {
            self.tried = false;
            self.refused = None;
            self.checked = None;
            self.finalized = None;
        }
    }

    /// Writes down why the fault ended, and that the experiment was ended before its time, if that is what changes now.
    pub(super) fn note_end(&self, experiment: &mut Experiment) {
        experiment.end_reason = self.end_reason.into();
        let (was, is) = (self.experiment().experiment_state(), experiment.experiment_state());
        let is_early = matches!(was, State::Created | State::Starting | State::Started)
            && matches!(is, State::SelfHealing | State::Failed)
            && self.experiment().problem.is_none();
        if let Some(why) = self.cut.as_ref().filter(|_| is_early) {
            experiment.aborted = Some(why.clone());
        }
    }
}

/// How a target that was looked for is.
fn presence(sight: &Sight) -> Presence {
    match sight {
        Sight::Here(target) if target.health() == Health::Normal => Presence::Well,
        Sight::Here(_) => Presence::Unwell,
        Sight::Away => Presence::Away,
        Sight::Gone => Presence::Gone,
    }
}

/// How the fault of this action is.
fn fault(status: &ActionStatus) -> Fault {
    let problem = || {
        let unsaid = || Problem::internal("the action ended badly and did not say why");
        status.problem.clone().map_or_else(unsaid, Problem::from)
    };
    match status.state() {
        ActionState::Unspecified | ActionState::Admitted | ActionState::Accepted => Fault::Coming,
        ActionState::Started => Fault::InForce,
        ActionState::Reverted | ActionState::Done => Fault::Over,
        ActionState::Failed if status.assumed => Fault::Unseen(problem()),
        ActionState::Failed | ActionState::Refused => Fault::Failed(problem()),
        ActionState::Unknown => Fault::Unknown(problem()),
        ActionState::Stuck => Fault::Stuck(problem()),
    }
}
