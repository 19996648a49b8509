//! Targets under experiment: they count as hurt from when their suite is built until they are well again, whatever
//! happens in between.

use std::{sync::Arc, time::SystemTime};

use chaos_kitty::{Code, Problem, v1::Target};
use tokio::time::Instant;

use super::{Gate, Limits, State, group_of, hurt::Wound, is_same};
use crate::fleet::process;

/// The mark that a target is under experiment. Dropped when the experiment is over.
pub struct Engaged {
    gate: Arc<Gate>,
    experiment: String,
}

impl Gate {
    /// Marks all of these targets, each for the experiment of this id, or none of them. Of each group at least
    /// `min_survivors` are left alone.
    ///
    /// # Errors
    /// [`Code::Halted`], [`Code::Stopping`], [`Code::LimitReached`], [`Code::TooFewSurvivors`],
    /// [`Code::Settling`]; [`Code::AlreadyHeld`]: one of them is hurt, or under experiment.
    pub(crate) fn engage(
        self: &Arc<Self>,
        wanted: &[(String, Arc<Target>)],
        min_survivors: usize,
    ) -> Result<Vec<Engaged>, Problem> {
        let limits = Limits { min_survivors: self.limits.min_survivors.max(min_survivors), ..self.limits };
        let mut state = self.state();
        state.open(&self.limits)?;
        for (number, (experiment, target)) in wanted.iter().enumerate() {
            if let Err(problem) = self.may_engage(&state, &limits, target) {
                wanted[..number].iter().for_each(|(earlier, _)| state.engaged.remove(earlier));
                return Err(problem);
            }
            state.engaged.add(experiment, wound(target));
        }
        drop(state);
        let engaged = |(experiment, _): &(String, _)| self.engaged(experiment);
        Ok(wanted.iter().map(engaged).collect())
    }

    /// Marks a target of an experiment that an earlier start of the server began. Its agent may come back within a
    /// lease.
    pub(crate) fn engage_again(self: &Arc<Self>, experiment: &str, target: &Target) -> Engaged {
        let lease = self.fleet.settings().lease;
        let mut state = self.state();
        state.engaged.add(experiment, wound(target));
        state.settling.get_or_insert_with(|| Instant::now() + lease);
        drop(state);
        self.engaged(experiment)
    }

    fn engaged(self: &Arc<Self>, experiment: &str) -> Engaged {
        Engaged { gate: self.clone(), experiment: experiment.to_owned() }
    }

    fn may_engage(&self, state: &State, limits: &Limits, target: &Arc<Target>) -> Result<(), Problem> {
        if !state.is_spared(target) {
            let message = format!("{} cannot be hit now: {}", target.name, self.why_hurt(state, target));
            return Err(Problem::new(Code::AlreadyHeld, message)
                .hint("wait until it is healthy, or build the suite without naming it"));
        }
        for group in self.fleet.groups_of(target) {
            self.is_back(state, &group)?;
            let hits =
                group.members.iter().filter(|member| is_same(member, target) && state.is_spared(member));
            limits
                .admits(&group.key.1, state.crowd(&group), hits.count())
                .map_err(|problem| self.with_hurt(state, problem, &group))?;
        }
        Ok(())
    }
}

fn wound(target: &Target) -> Wound {
    Wound {
        target_id: target.id.clone(),
        process: process(target),
        group: group_of(&target.platform_type, &target.aggregation_identifier),
        resource: None,
        leaves: None,
        since: SystemTime::now(),
        until: None,
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        self.gate.state().engaged.remove(&self.experiment);
    }
}
