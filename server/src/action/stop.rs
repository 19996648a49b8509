//! Ending one action, or all of them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Later, Problem, Timestamp,
    bounds::brief,
    v1::{
        ActionStatus, HaltProgress, HaltRequest,
        action_state::Name as State,
        event::{self, Halted, Resumed},
        halt_progress::{Kind, Summary, Unreached as WireUnreached},
    },
};
use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::Actions;
use crate::fleet::{Unreached, is_over};
use crate::task::{self, OnPanic};

/// How long a revert may take to be verified before the caller is told that it was not.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// How long a halt waits for nodes to say that they heard it.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// How long a halt waits for faults to be reverted.
const HALT_PATIENCE: Duration = Duration::from_secs(10);

/// Agents that a summary names at the most.
const UNREACHED: usize = 1000;

/// What became of each fault, then a summary.
pub struct HaltUpdates(mpsc::UnboundedReceiver<HaltProgress>);

impl Stream for HaltUpdates {
    type Item = HaltProgress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<HaltProgress>> {
        self.0.poll_recv(context)
    }
}

impl Actions {
    /// Reverts an action and answers once that is verified; one that is over already is given as it ended.
    ///
    /// # Errors
    /// [`Code::NoSuchAction`]; [`Code::AgentUnreachable`]: its lease will end it; [`Code::NoAnswer`]: the
    /// agent did not report its end in time.
    pub async fn stop(&self, id: &str) -> Result<ActionStatus, Problem> {
        let found = self.book.look(id, |entry| {
            entry.stopping = true;
            (entry.status.subscribe(), entry.status.borrow().agent_id.clone())
        });
        let Some((mut news, agent)) = found else {
            return self.get(id).await;
        };
        if !self.fleet.stop(&agent, id) {
            let lease = self.fleet.settings().lease.as_secs_f64();
            let message = format!("agent {agent:?} of action {id} is not connected");
            return Err(Problem::new(Code::AgentUnreachable, message)
                .hint(format!("the fault ends with the agent's lease, within {lease} s; it does not go on if the agent comes back")));
        }
        let over = news.wait_for(|status| is_over(status.state()) || status.state() == State::Stuck);
        match timeout(STOP_PATIENCE, over).await {
            Ok(Ok(status)) => Ok(status.clone()),
            _ => {
                let message = format!(
                    "agent {agent:?} did not report the end of action {id} within {} s",
                    STOP_PATIENCE.as_secs()
                );
                Err(Problem::new(Code::NoAnswer, message).hint("see `kittyctl action list`"))
            }
        }
    }

    /// An order has just left. Whoever stopped its action before was heard by nobody: the node did not know it.
    pub(super) fn stop_again(&self, id: &str) {
        let agent = self.book.look(id, |entry| {
            let agent = entry.status.borrow().agent_id.clone();
            entry.stopping.then_some(agent)
        });
        if let Some(agent) = agent.flatten() {
            self.fleet.stop(&agent, id);
        }
    }

    /// Admits nothing more and has every fault of the fleet reverted. Needs neither the store nor any answer.
    /// The updates end with a summary, after ten seconds at the latest.
    pub fn halt(&self, request: &HaltRequest) -> HaltUpdates {
        let started = Instant::now();
        let HaltRequest { reason, source } = request.clone();
        tracing::warn!(reason = brief(&reason), source = brief(&source), "halt");
        if let Err(problem) = self.gate.halt(&reason) {
            tracing::error!(%problem, "the halt would not survive a restart");
            self.fleet.losses.add("halt_not_durable", 1);
        }
        self.bus.publish(event::Kind::Halted(Halted { reason, source }), "the fleet is halted");
        // At most as many messages as there are active actions, and one.
        let (sender, receiver) = mpsc::unbounded_channel();
        let active: Vec<_> = self
            .book
            .active()
            .iter()
            .filter_map(|status| self.book.look(&status.id, |entry| entry.status.subscribe()))
            .collect();
        let fleet = self.fleet.clone();
        task::spawn(OnPanic::Abort, async move {
            // Nobody need wait for the faults of a node that did not hear: its lease ends them.
            let (given_up, unreached) = watch::channel(Vec::new());
            let asking = async {
                given_up.send_replace(fleet.revert_all(HEARD_WITHIN).await);
            };
            let following = tally(active, &unreached, started + HALT_PATIENCE, &sender);
            let ((), tally) = tokio::join!(asking, following);
            let summary = Summary {
                unreached: unreached.borrow().iter().take(UNREACHED).map(wire).collect(),
                unreached_total: u32::try_from(unreached.borrow().len()).unwrap_or(u32::MAX),
                took: Some(started.elapsed().into()),
                ..tally
            };
            // The caller may have gone; the halt goes on.
            let _ = sender.send(HaltProgress { kind: Some(Kind::Summary(summary)) });
        });
        HaltUpdates(receiver)
    }

    /// Admits again. False if nothing was halted.
    ///
    /// # Errors
    /// The latch could not be removed; the halt goes on.
    pub fn resume(&self, source: &str) -> Result<bool, Problem> {
        let was_halted = self.gate.resume()?;
        if was_halted {
            tracing::warn!(source = brief(source), "resumed");
            self.bus.publish(
                event::Kind::Resumed(Resumed { source: source.to_owned() }),
                "faults are admitted again",
            );
        }
        Ok(was_halted)
    }
}

/// Follows each action to its end, to the deadline, or until its node is given up, and counts how they ended.
async fn tally(
    active: Vec<watch::Receiver<ActionStatus>>,
    unreached: &watch::Receiver<Vec<Unreached>>,
    deadline: Instant,
    progress: &mpsc::UnboundedSender<HaltProgress>,
) -> Summary {
    let follow = |news| end_of(news, unreached.clone(), deadline);
    let mut ends: FuturesUnordered<_> = active.into_iter().map(follow).collect();
    let mut summary = Summary::default();
    while let Some(status) = ends.next().await {
        match status.state() {
            State::Reverted => summary.reverted += 1,
            state if is_over(state) => summary.ended += 1,
            _ => summary.left += 1,
        }
        let _ = progress.send(HaltProgress { kind: Some(Kind::Action(status)) });
    }
    summary
}

async fn end_of(
    mut news: watch::Receiver<ActionStatus>,
    mut unreached: watch::Receiver<Vec<Unreached>>,
    deadline: Instant,
) -> ActionStatus {
    let agent = news.borrow().agent_id.clone();
    let ended = |status: &ActionStatus| is_over(status.state()) || status.state() == State::Stuck;
    let given_up = |unreached: &Vec<Unreached>| unreached.iter().any(|node| node.agent_id == agent);
    tokio::select! {
        biased;
        _ = news.wait_for(ended) => {}
        Ok(_) = unreached.wait_for(given_up) => {}
        () = sleep_until(deadline) => {}
    }
    news.borrow().clone()
}

fn wire(unreached: &Unreached) -> WireUnreached {
    let left = unreached.over_by.saturating_duration_since(Instant::now());
    WireUnreached {
        agent_id: unreached.agent_id.clone(),
        active: u32::try_from(unreached.active).unwrap_or(u32::MAX),
        ends_at: Some(Timestamp::from(SystemTime::now().later(left))),
    }
}
