//! Nodes' news of their targets.

use std::{collections::HashSet, sync::Arc};

use chaos_kitty::{
    bounds::brief,
    page,
    v1::{PlatformProblem, Target, TargetsChanged, action_kind, event},
};
use tokio::time::Instant;

use super::{Fleet, identity::acceptable, node::Node, roster::Change};

/// Targets of one agent, and their bytes.
const TARGETS_PER_AGENT: usize = 100_000;
const BYTES_PER_AGENT: usize = 64 << 20;
/// Platforms of an agent that may say that they cannot see their targets.
const PROBLEMS: usize = 64;
/// Longest name of a platform that is kept.
const PLATFORM_BYTES: usize = 506;

/// Targets of one message that are not taken in: one line of the log for all of them.
#[derive(Default)]
struct Refused {
    count: u64,
    first: Option<String>,
}

impl Refused {
    fn add(&mut self, id: &str, why: String) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| format!("{}: {why}", brief(id)));
    }
}

impl Fleet {
    /// Takes in an agent's list of targets, or what changed in it.
    pub(super) fn targets_changed(self: &Arc<Self>, node: &Arc<Node>, changed: TargetsChanged) {
        if node.is_worker() {
            self.losses.add("targets_refused", changed.upserted.len() as u64);
            return;
        }
        let problems = changed.problems.iter().filter(|problem| problem.blind);
        let blind: Vec<String> = problems.map(|problem| problem.platform_type.clone()).collect();
        let complete = {
            let mut live = node.live();
            if changed.full {
                live.listing = Some(HashSet::new());
            }
            if let Some(listing) = &mut live.listing {
                let room = TARGETS_PER_AGENT.saturating_sub(listing.len());
                listing.extend(changed.upserted.iter().take(room).map(|target| target.id.clone()));
            }
            if changed.complete {
                live.problems = sound_problems(changed.problems);
            }
            if changed.complete { live.listing.take() } else { None }
        };
        // Those that are gone first: whoever takes their place was not alive together with them.
        self.remove_targets(node, changed.removed, &blind);
        self.upsert_targets(node, changed.upserted);
        if let Some(listed) = complete {
            let known = self.state().roster.of_node(node.id());
            self.remove_targets(node, known.into_iter().filter(|id| !listed.contains(id)).collect(), &blind);
            node.live().listed = true;
        }
        if changed.complete {
            let dropped = self.state().roster.drop_hidden(node.id(), &blind, Instant::now());
            dropped.into_iter().for_each(|target| self.tell_removed(target));
        }
    }

    /// Takes in what is acceptable of these targets; the rest is logged and counted.
    pub(super) fn upsert_targets(&self, node: &Arc<Node>, targets: Vec<Target>) {
        let now = Instant::now();
        let mut refused = Refused::default();
        for mut target in targets {
            target.agent_id = node.id().to_owned();
            // How it stands is the server's to say.
            target.standing = None;
            if !make_sound(&mut target) {
                self.losses.add("parts_of_targets", 1);
            }
            if !node.is_worker()
                && let Err(why) = acceptable(&target)
            {
                refused.add(&target.id, why);
                continue;
            }
            let target = Arc::new(target);
            let outcome = {
                let mut state = self.state();
                if state.roster.count_of(node.id()) >= TARGETS_PER_AGENT
                    || state.roster.bytes_of(node.id()) >= BYTES_PER_AGENT
                {
                    Err("the agent has too many targets".to_owned())
                } else {
                    let offered = state.roster.upsert(target.clone(), now);
                    offered.map_err(|other| format!("agent {other:?} offers a target of this id"))
                }
            };
            match outcome {
                Ok(Change::Same) => {}
                Ok(Change::Changed) => self.tell_changed(target),
                Ok(Change::Added) => self.tell_added(target),
                Ok(Change::Reborn(before)) => {
                    self.tell_removed(before);
                    self.tell_added(target);
                }
                Err(why) => refused.add(&target.id, why),
            }
        }
        if let Some(first) = refused.first {
            tracing::warn!(node = node.id(), count = refused.count, first, "targets are refused");
            self.losses.add("targets_refused", refused.count);
        }
    }

    /// They are gone, but for those of platforms that the node can not see at the moment.
    fn remove_targets(&self, node: &Arc<Node>, ids: Vec<String>, blind: &[String]) {
        let now = Instant::now();
        for id in ids {
            let mut state = self.state();
            if !state.roster.belongs(&id, node.id()) {
                continue;
            }
            let is_unseen = state.roster.is_of(&id, blind);
            let removed = if is_unseen { state.roster.hide(&id, now) } else { state.roster.remove(&id, now) };
            drop(state);
            match removed {
                Some(target) if is_unseen => self.tell_away(target, "can not see it now"),
                Some(target) => self.tell_removed(target),
                None => {}
            }
        }
    }

    /// The node's targets can not be hit for now.
    pub(super) fn hide_targets(&self, node: &Arc<Node>) {
        let hidden = {
            let mut state = self.state();
            // Its successor under the same id has them already.
            if state.nodes.get(node.id()).is_some_and(|current| !Arc::ptr_eq(current, node)) {
                return;
            }
            state.roster.hide_all_of(node.id(), Instant::now())
        };
        for target in hidden {
            self.tell_away(target, "is not connected");
        }
    }

    fn tell_added(&self, target: Arc<Target>) {
        let message = || format!("target {} is there", target.id);
        self.bus.publish_with(|| (event::Kind::TargetAdded(Target::clone(&target)), message()));
    }

    fn tell_changed(&self, target: Arc<Target>) {
        let message = || format!("target {} has changed", target.id);
        self.bus.publish_with(|| (event::Kind::TargetChanged(Target::clone(&target)), message()));
    }

    /// It can not be hit, and whether it is there is not known.
    fn tell_away(&self, target: Arc<Target>, why: &str) {
        let message = || format!("target {} is away: its agent {why}", target.id);
        self.bus.publish_with(|| (event::Kind::TargetRemoved(Target::clone(&target)), message()));
    }

    fn tell_removed(&self, target: Arc<Target>) {
        let message = || format!("target {} is gone", target.id);
        self.bus.publish_with(|| (event::Kind::TargetRemoved(Target::clone(&target)), message()));
    }
}

/// What platforms say of themselves, as it is kept.
pub(super) fn sound_problems(mut problems: Vec<PlatformProblem>) -> Vec<PlatformProblem> {
    problems.truncate(PROBLEMS);
    for problem in &mut problems {
        problem.platform_type = page::cut_to(&problem.platform_type, PLATFORM_BYTES);
        problem.message = page::cut(&problem.message);
    }
    problems
}

/// Leaves out what this version cannot show: actions and health that it does not know. False: there was something.
fn make_sound(target: &mut Target) -> bool {
    let before = (target.actions.len(), target.health, target.problem.take().is_some());
    target.actions.retain(|kind| action_kind::Name::try_from(*kind).is_ok());
    target.health = target.health().into();
    target.withheld.retain(|withheld| action_kind::Name::try_from(withheld.action).is_ok());
    for problem in target.withheld.iter_mut().filter_map(|withheld| withheld.problem.as_mut()) {
        (problem.message, problem.hint) = (page::cut(&problem.message), page::cut(&problem.hint));
    }
    before == (target.actions.len(), target.health, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_platforms_say_of_themselves_is_bounded() {
        let problem = PlatformProblem { message: "x".repeat(1 << 20), ..PlatformProblem::default() };
        let kept = sound_problems(vec![problem; 1000]);
        assert!(kept.len() == PROBLEMS && kept.iter().all(|problem| problem.message.len() <= 1024));
    }

    #[test]
    fn a_target_of_a_newer_agent_can_be_shown() {
        let mut target = Target { actions: vec![1, 99, 2], health: 77, ..Target::default() };
        assert!(!make_sound(&mut target));
        assert_eq!((&target.actions[..], target.health), (&[1, 2][..], 0));
        serde_json::to_string(&target).unwrap();
        assert!(make_sound(&mut target));
    }
}
