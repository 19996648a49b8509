//! Orders on their way to nodes. To start something takes the [`Dispatcher`], of which there is one, and only
//! the safety layer has it; to end something takes nothing.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    v1::{
        Action, ActionReport, Invoke, Invoked, ReportsTaken, RevertAll, StartAction, StopHeld, Target,
        Unlatch, action::Kind as ActionKind, action_state::Name as ActionState, server_message::Kind,
    },
};
use tokio::time::{Instant, timeout_at};

use super::{Fleet, Whereabouts, node::Node};
use crate::hooks;

/// An order to start an action.
#[derive(Clone, Debug)]
pub struct Order {
    /// UUIDv7.
    pub action_id: String,
    /// On which target, in which incarnation.
    pub target: Arc<Target>,
    /// What to do.
    pub action: Action,
    /// W3C trace context of the caller. Empty: none.
    pub traceparent: String,
}

/// That an order was left for a node's stream.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The node's connection.
    pub connection: u32,
    /// When.
    pub at: Instant,
}

/// The right to start actions.
pub struct Dispatcher {
    pub(super) fleet: Arc<Fleet>,
}

impl Dispatcher {
    /// Sends an order to the target's node, after making sure that the node is there and answers. `sent` is
    /// set just before. Whether the node takes it comes as a report.
    ///
    /// # Errors
    /// Nothing was sent: [`Code::TargetGone`], [`Code::Recycled`], [`Code::AgentUnreachable`].
    pub(crate) async fn start(&self, order: &Order, sent: &OnceLock<Sent>) -> Result<(), Problem> {
        let fleet = &self.fleet;
        let node = fleet.node_of(&order.target)?;
        fleet.hear_from(&node).await?;
        hooks::point("server-before-dispatch");
        // It may have changed hands meanwhile.
        let node = fleet.node_of(&order.target)?;
        fleet.holds(&node, &order.action_id);
        let left = {
            // Under the lock, so that no newer answer is taken for the one that this order names.
            let mut live = node.live();
            let ready = live.attached && live.welcomed;
            if ready {
                if let Some(ActionKind::Script(run)) = &order.action.kind
                    && let Err(problem) = fleet.hand_over(&node, &mut live, &run.hash)
                {
                    live.held.remove(&order.action_id);
                    return Err(problem);
                }
                let _ = sent.set(Sent { connection: node.connection_id, at: Instant::now() });
            }
            ready
                && node.send(Kind::Start(StartAction {
                    action_id: order.action_id.clone(),
                    target_id: order.target.id.clone(),
                    incarnation: order.target.incarnation.clone(),
                    action: Some(order.action.clone()),
                    epoch: fleet.epoch(),
                    traceparent: order.traceparent.clone(),
                    answered: live.lease.answered(),
                    start_within: Some(fleet.settings.start_timeout.into()),
                }))
        };
        hooks::point("server-dispatched");
        if left {
            return Ok(());
        }
        node.live().held.remove(&order.action_id);
        Err(unreachable(&node.hello.agent_id, "was lost"))
    }
}

impl Fleet {
    pub(super) fn node_of(&self, target: &Target) -> Result<Arc<Node>, Problem> {
        let state = self.state();
        let Some(now) = state.roster.get(&target.id) else {
            if state.whereabouts(target) == Whereabouts::Away {
                let why = format!("is not connected, or can not see target {} now", target.id);
                return Err(unreachable(&target.agent_id, &why));
            }
            return Err(Problem::new(Code::TargetGone, format!("target {} is gone", target.id))
                .hint("kittyctl target list shows those there are"));
        };
        if now.incarnation != target.incarnation && !target.incarnation.is_empty() {
            let message =
                format!("target {} is {} now, it was {}", target.id, now.incarnation, target.incarnation);
            return Err(Problem::new(Code::Recycled, message).hint("choose again"));
        }
        let node = state.nodes.get(&now.agent_id).filter(|node| node.live().attached);
        node.cloned().ok_or_else(|| unreachable(&now.agent_id, "is not connected"))
    }

    /// Waits until the node's last answer is fresh enough to build an order on.
    pub(super) async fn hear_from(&self, node: &Arc<Node>) -> Result<(), Problem> {
        let started = Instant::now();
        if node.live().lease.is_fresh(started) {
            return Ok(());
        }
        let deadline = started + self.settings.start_timeout;
        let mut asked = false;
        loop {
            let answer = node.answered.notified();
            tokio::pin!(answer);
            answer.as_mut().enable();
            {
                let live = node.live();
                if !live.attached {
                    return Err(unreachable(node.id(), "was lost"));
                }
                if live.lease.is_fresh(Instant::now()) {
                    return Ok(());
                }
            }
            if !asked {
                self.send_renewal(node);
                asked = true;
            }
            if timeout_at(deadline, answer).await.is_err() {
                return Err(unreachable(node.id(), "does not answer"));
            }
        }
    }

    /// Asks the node to revert an action. False: it is not attached.
    pub(crate) fn stop(&self, node: &str, action_id: &str) -> bool {
        hooks::point("server-before-stop");
        let stop = StopHeld { action_id: action_id.to_owned(), epoch: self.epoch() };
        self.attached(node).is_some_and(|node| node.send(Kind::Stop(stop)))
    }

    /// Tells every node to revert everything and to start nothing. Gives those that did not say within
    /// `patience` that they had heard it.
    pub(crate) async fn revert_all(&self, patience: Duration) -> Vec<Unreached> {
        let epoch = self.epoch();
        let nodes: Vec<_> = self.state().nodes.values().cloned().collect();
        let deadline = Instant::now() + patience;
        let waiting: Vec<_> = nodes
            .into_iter()
            .map(|node| {
                let pong = node.is_attached().then(|| {
                    node.send(Kind::RevertAll(RevertAll { epoch }));
                    node.ping()
                });
                (node, pong)
            })
            .collect();
        let mut unreached = Vec::new();
        for (node, pong) in waiting {
            let heard = match pong {
                Some(pong) => matches!(timeout_at(deadline, pong).await, Ok(Ok(()))),
                None => false,
            };
            if !heard {
                let live = node.live();
                let agent_id = node.id().to_owned();
                unreached.push(Unreached {
                    agent_id,
                    active: live.held.len(),
                    over_by: live.lease.over_by(),
                });
            }
        }
        unreached
    }

    /// Tells every node that actions may start again.
    pub(crate) fn unlatch(&self) {
        let epoch = self.epoch();
        let nodes: Vec<_> = self.state().nodes.values().cloned().collect();
        for node in nodes.into_iter().filter(|node| node.is_attached()) {
            node.send(Kind::Unlatch(Unlatch { epoch }));
        }
    }

    /// Reports came in: what they say to be over is held no longer; then they go up.
    pub(super) fn reported(&self, node: &Arc<Node>, reports: Vec<ActionReport>) {
        hooks::point("server-report");
        {
            let mut live = node.live();
            for report in reports.iter().filter(|report| is_over(report.state())) {
                live.held.remove(&report.action_id);
            }
        }
        if let Some(ledger) = self.ledger() {
            ledger.reported(node, reports);
        }
    }

    /// Tells the node that its reports up to this one were taken in.
    pub(crate) fn taken(&self, node: &Node, sequence: u64) {
        node.send(Kind::Taken(ReportsTaken { sequence }));
    }

    /// A node asks for an action.
    pub(super) fn invoke(&self, node: &Arc<Node>, invoke: Invoke) {
        if let Some(ledger) = self.ledger() {
            ledger.invoked(node, invoke);
        }
    }

    /// Answers a call that came by the node's stream. False: it is gone.
    pub(crate) fn invoked(&self, node: &Node, update: Invoked) -> bool {
        node.is_attached() && node.send(Kind::Invoked(update))
    }

    fn attached(&self, id: &str) -> Option<Arc<Node>> {
        self.state().nodes.get(id).filter(|node| node.is_attached()).cloned()
    }
}

/// A node that did not say that it heard.
#[derive(Clone, Debug)]
pub struct Unreached {
    /// Its id.
    pub agent_id: String,
    /// Actions that it may hold.
    pub active: usize,
    /// When its lease is over at the latest.
    pub over_by: Instant,
}

/// Whether nothing more happens to an action in this state.
pub(crate) const fn is_over(state: ActionState) -> bool {
    matches!(state, ActionState::Reverted | ActionState::Done | ActionState::Failed | ActionState::Refused)
}

fn unreachable(agent: &str, what: &str) -> Problem {
    Problem::new(Code::AgentUnreachable, format!("agent {agent:?} {what}; nothing was started"))
        .hint("kittyctl agent list shows which agents are connected")
}
