//! Nodes' news of their targets.

use std::{collections::HashSet, sync::Arc};

use chaos_kitty::v1::{Target, TargetsChanged, event};
use tokio::time::Instant;

use super::{Fleet, identity::acceptable, node::Node, roster::Change};

/// Targets of one agent.
const TARGETS_PER_AGENT: usize = 100_000;

impl Fleet {
    /// Takes in an agent's list of targets, or what changed in it.
    pub(super) fn targets_changed(self: &Arc<Self>, node: &Arc<Node>, changed: TargetsChanged) {
        if node.is_worker() {
            self.losses.add("targets_refused", changed.upserted.len() as u64);
            return;
        }
        let complete = {
            let mut live = node.live();
            if changed.full {
                live.listing = Some(HashSet::new());
            }
            if let Some(listing) = &mut live.listing {
                listing.extend(changed.upserted.iter().map(|target| target.id.clone()));
            }
            if changed.complete {
                live.problems = changed.problems;
            }
            if changed.complete { live.listing.take() } else { None }
        };
        self.upsert_targets(node, changed.upserted);
        self.remove_targets(node, changed.removed);
        if let Some(listed) = complete {
            let known = self.state().roster.of_node(node.id());
            self.remove_targets(node, known.into_iter().filter(|id| !listed.contains(id)).collect());
        }
    }

    /// Takes in what is acceptable of these targets; the rest is logged and counted.
    pub(super) fn upsert_targets(&self, node: &Arc<Node>, targets: Vec<Target>) {
        let now = Instant::now();
        for mut target in targets {
            target.agent_id = node.id().to_owned();
            if !node.is_worker()
                && let Err(why) = acceptable(&target)
            {
                self.refuse_target(node, &target, why);
                continue;
            }
            let target = Arc::new(target);
            let outcome = {
                let mut state = self.state();
                if state.roster.count_of(node.id()) >= TARGETS_PER_AGENT {
                    Err("the agent has too many targets".to_owned())
                } else {
                    let offered = state.roster.upsert(target.clone(), now);
                    offered.map_err(|other| format!("agent {other:?} offers a target of this id"))
                }
            };
            match outcome {
                Ok(Change::Updated) => {}
                // An error only says that nobody wants to know.
                Ok(Change::Health) => drop(self.health.send(target)),
                Ok(Change::Added) => self.tell_added(target),
                Ok(Change::Reborn(before)) => {
                    self.tell_removed(before);
                    self.tell_added(target);
                }
                Err(why) => self.refuse_target(node, &target, &why),
            }
        }
    }

    fn remove_targets(&self, node: &Arc<Node>, ids: Vec<String>) {
        let now = Instant::now();
        for id in ids {
            let removed = {
                let mut state = self.state();
                if state.roster.belongs(&id, node.id()) { state.roster.remove(&id, now) } else { None }
            };
            if let Some(target) = removed {
                self.tell_removed(target);
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
            state.roster.hide(node.id(), Instant::now())
        };
        for target in hidden {
            self.tell_removed(target);
        }
    }

    fn refuse_target(&self, node: &Node, target: &Target, why: &str) {
        let id: String = target.id.chars().take(200).collect();
        tracing::warn!(node = node.id(), target = id, why, "a target is refused");
        self.losses.add("targets_refused", 1);
    }

    fn tell_added(&self, target: Arc<Target>) {
        let message = || format!("target {} is there", target.id);
        self.bus.publish_with(|| (event::Kind::TargetAdded(Target::clone(&target)), message()));
    }

    fn tell_removed(&self, target: Arc<Target>) {
        let message = || format!("target {} is gone", target.id);
        self.bus.publish_with(|| (event::Kind::TargetRemoved(Target::clone(&target)), message()));
    }
}
