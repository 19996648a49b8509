//! What experiments need from the rest of the server.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{
        Action, ActionStatus, AdminStateResponse, Agent, Event, Experiment, StepResult, Target, event,
        run_step,
    },
};
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::action::Script;

/// Where a target is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// There, in the life that was asked for.
    Here(Arc<Target>),
    /// Its agent is not there, has not said yet what it has, or can not see it: nothing is known.
    Away,
    /// This life of it is over.
    Gone,
}

/// A target and the experiment that wants it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The experiment's id.
    pub experiment: String,
    /// The target.
    pub target: Arc<Target>,
}

/// That a target is under experiment: it counts as hurt until this is dropped.
pub trait Engagement: Send + Sync {}

/// What the layers below do for experiments.
pub trait Port: Send + Sync + 'static {
    /// The targets of a platform that can be hit, ordered by name.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::UnknownPlatform`].
    fn roster(&self, platform_type: &str) -> Result<Vec<Arc<Target>>, Problem>;

    /// Whether each of these is healthy and not hurt.
    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool>;

    /// A target that can be hit, by id, by unique name, or by `process/HOST/RULE`.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::NoSuchTarget`] and the like.
    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem>;

    /// Where this life of a target is now.
    fn look(&self, target: &Target) -> Sight;

    /// How many of a target's group are well now; without a group, whether something well has its place.
    fn company(&self, target: &Target) -> usize;

    /// The connected agents.
    fn agents(&self) -> Vec<Agent>;

    /// Marks all of these targets as under experiment, or none; of each group at least so many are left alone.
    ///
    /// # Errors
    /// Safety refuses.
    fn engage(&self, wishes: &[Wish], min_survivors: usize) -> Result<Vec<Box<dyn Engagement>>, Problem>;

    /// The same of an experiment that an earlier start of the server began.
    fn engage_again(&self, wish: &Wish) -> Box<dyn Engagement>;

    /// Orders an action under an id that is written down already. Resolves once it is admitted and recorded, or
    /// was before.
    fn order(
        &self,
        action_id: String,
        target: Arc<Target>,
        action: Action,
        source: String,
    ) -> BoxFuture<'static, Result<(), Problem>>;

    /// What is known in memory of an action.
    fn action(&self, id: &str) -> Option<ActionStatus>;

    /// What is known of an action at all; `None`: it was never ordered.
    fn recorded_action(&self, id: String) -> BoxFuture<'static, Result<Option<ActionStatus>, Problem>>;

    /// Reverts an action; resolves once that is verified, or when its agent can not be told.
    fn revert(&self, action_id: String) -> BoxFuture<'static, Result<(), Problem>>;

    /// Has a step carried out on a target.
    fn step(
        &self,
        target: Arc<Target>,
        step_id: String,
        kind: run_step::Kind,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StepResult, Problem>>;

    /// Programs that scripts needed on this target and that were not there.
    fn known_missing(&self, target: &Target) -> Vec<String>;

    /// The scripts that there are.
    fn scripts(&self) -> Vec<Arc<Script>>;

    /// The longest duration of a fault that the server admits.
    fn longest_fault(&self) -> Duration;

    /// What the control plane may do of its own accord.
    fn admin(&self) -> AdminStateResponse;

    /// News of targets, actions and the administration, from now on. It ends when it is not read in time.
    fn events(&self) -> BoxStream<'static, Arc<Event>>;

    /// Tells watchers. `message` is the line for people.
    fn emit(&self, kind: event::Kind, message: String);
}

/// The news of one experiment, as an event.
pub(super) fn news(experiment: &Experiment) -> (event::Kind, String) {
    let message = format!(
        "experiment {} ({} on {}): {}",
        experiment.id,
        experiment.experiment_method_name,
        experiment.container.as_ref().map_or("", |target| target.name.as_str()),
        experiment.experiment_state().as_str_name()
    );
    (event::Kind::Experiment(experiment.clone()), message)
}
