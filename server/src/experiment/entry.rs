//! One experiment that is not over, and what is seen of it.

use std::{sync::Arc, time::SystemTime};

use chaos_kitty::{
    Problem,
    v1::{
        ActionStatus, Experiment, Target, action_state::Name as ActionState, end_reason::Name as Reason,
        target_health::State as Health,
    },
};
use tokio::sync::watch;

use super::{
    life::{Fault, Presence},
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
    end_reason: Reason,
    /// Something is under way: it is looked at when that is through.
    pub(super) busy: bool,
    /// Something was tried since the last tick, and is not tried again before the next one.
    pub(super) tried: bool,
    /// When it is looked at, news or none.
    pub(super) due: Option<SystemTime>,
    /// Why it is to end.
    pub(super) abort: Option<String>,
    pub(super) refused: Option<Problem>,
    pub(super) checked: Option<bool>,
    pub(super) finalized: Option<Result<(), Problem>>,
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
            busy: false,
            tried: true,
            due: None,
            abort: None,
            refused: None,
            checked: None,
            finalized: None,
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

    /// Takes in a change that is recorded.
    pub(super) fn changed(&mut self, experiment: &Experiment) {
        if experiment.experiment_state != self.experiment().experiment_state {
            self.tried = false;
            self.refused = None;
            self.checked = None;
            self.finalized = None;
        }
    }

    /// Writes down why the fault ended.
    pub(super) fn note_end(&self, experiment: &mut Experiment) {
        experiment.end_reason = self.end_reason.into();
    }
}

/// How a target that was looked for is.
pub(super) fn presence(sight: &Sight) -> Presence {
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
        ActionState::Failed | ActionState::Refused => Fault::Failed(problem()),
        ActionState::Unknown => Fault::Unknown(problem()),
        ActionState::Stuck => Fault::Stuck(problem()),
    }
}
