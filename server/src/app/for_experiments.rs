//! What experiments see of the rest.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{
        Action, ActionStatus, AdminStateResponse, Agent, Event, Selector, StepResult, Target, event,
        run_step, target_health::State as Health,
    },
};
use futures_util::{
    StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};

use crate::{
    action::{Actions, Script},
    event::Bus,
    experiment::{Engagement, Port, Sight, Wish},
    fleet::{Fleet, Whereabouts},
    safety::{Admin, Engaged, Gate},
};

/// What they are told of.
const NEWS: [&str; 7] =
    ["target_added", "target_changed", "target_removed", "action", "halted", "resumed", "admin_state"];

/// See the module.
pub(super) struct ForExperiments {
    pub(super) fleet: Arc<Fleet>,
    pub(super) gate: Arc<Gate>,
    pub(super) actions: Arc<Actions>,
    pub(super) admin: Arc<Admin>,
    pub(super) bus: Arc<Bus>,
}

impl Engagement for Engaged {}

impl Port for ForExperiments {
    fn roster(&self, platform_type: &str) -> Result<Vec<Arc<Target>>, Problem> {
        let platform_type = platform_type.to_owned();
        self.fleet.roster(&Selector { platform_type, ..Selector::default() })
    }

    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool> {
        self.gate.standing(targets).into_iter().map(|standing| standing.is_spared).collect()
    }

    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem> {
        self.fleet.resolve(target)
    }

    fn look(&self, target: &Target) -> Sight {
        match self.fleet.whereabouts(target) {
            Whereabouts::Here(target) => Sight::Here(target),
            Whereabouts::Away => Sight::Away,
            Whereabouts::Gone => Sight::Gone,
        }
    }

    fn company(&self, target: &Target) -> usize {
        let is_well = |target: &&Arc<Target>| target.health() == Health::Normal;
        match self.fleet.group_of(target) {
            Some(group) => group.members.iter().filter(is_well).count(),
            None => self.fleet.target(&target.id).iter().filter(is_well).count(),
        }
    }

    fn agents(&self) -> Vec<Agent> {
        self.fleet.agents()
    }

    fn engage(&self, wishes: &[Wish], min_survivors: usize) -> Result<Vec<Box<dyn Engagement>>, Problem> {
        let wanted: Vec<_> =
            wishes.iter().map(|wish| (wish.experiment.clone(), wish.target.clone())).collect();
        let engaged = self.gate.engage(&wanted, min_survivors)?;
        Ok(engaged.into_iter().map(|one| Box::new(one) as Box<dyn Engagement>).collect())
    }

    fn engage_again(&self, wish: &Wish) -> Box<dyn Engagement> {
        Box::new(self.gate.engage_again(&wish.experiment, &wish.target))
    }

    fn order(
        &self,
        action_id: String,
        target: Arc<Target>,
        action: Action,
        source: String,
    ) -> BoxFuture<'static, Result<(), Problem>> {
        let actions = self.actions.clone();
        Box::pin(async move { actions.unleash_as(&action_id, &target, action, &source).await })
    }

    fn action(&self, id: &str) -> Option<ActionStatus> {
        self.actions.known(id)
    }

    fn recorded_action(&self, id: String) -> BoxFuture<'static, Result<Option<ActionStatus>, Problem>> {
        let actions = self.actions.clone();
        Box::pin(async move { actions.recorded(&id).await })
    }

    fn revert(&self, action_id: String) -> BoxFuture<'static, Result<(), Problem>> {
        let actions = self.actions.clone();
        Box::pin(async move { actions.stop(&action_id).await.map(drop) })
    }

    fn step(
        &self,
        target: Arc<Target>,
        step_id: String,
        kind: run_step::Kind,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<StepResult, Problem>> {
        let fleet = self.fleet.clone();
        Box::pin(async move { fleet.step(&target, step_id, kind, timeout).await })
    }

    fn known_missing(&self, target: &Target) -> Vec<String> {
        self.actions.known_missing(target)
    }

    fn scripts(&self) -> Vec<Arc<Script>> {
        self.actions.scripts().all().cloned().collect()
    }

    fn longest_fault(&self) -> Duration {
        self.actions.longest()
    }

    fn admin(&self) -> AdminStateResponse {
        self.admin.get()
    }

    fn events(&self) -> BoxStream<'static, Arc<Event>> {
        let Ok(watch) = self.bus.watch(&NEWS.map(str::to_owned)) else { return stream::pending().boxed() };
        watch
            .map(Result::ok)
            .take_while(|event| future::ready(event.is_some()))
            .filter_map(future::ready)
            .boxed()
    }

    fn emit(&self, kind: event::Kind, message: String) {
        self.bus.publish(kind, message);
    }
}
