//! Steps of experiments on their way to nodes, and their answers. A step holds nothing, so it takes no permit; it is
//! sent once, on one stream, and never again.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Later, Problem, page,
    v1::{RunStep, StepResult, Target, run_step, server_message::Kind},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{Fleet, node::Node};

/// Longest output of a command, in bytes.
const OUTPUT: usize = 4096;

/// Steps that may wait for one node at a time.
const WAITING: usize = 1024;

impl Fleet {
    /// Runs a step on a target, in the incarnation that it names (empty: whichever it is in now), and gives what the
    /// node says of it: that may be a problem too. `timeout` is the step's own; the answer is waited for a little
    /// longer.
    ///
    /// # Errors
    /// Nothing was done: [`Code::TargetGone`], [`Code::Recycled`], [`Code::AgentUnreachable`],
    /// [`Code::NoSuchScript`], [`Code::LimitReached`]. Nobody knows what was done: [`Code::ConnectionLost`],
    /// [`Code::OutcomeUnknown`].
    pub async fn step(
        &self,
        target: &Target,
        step_id: String,
        kind: run_step::Kind,
        timeout: Duration,
    ) -> Result<StepResult, Problem> {
        let node = self.node_of(target)?;
        self.hear_from(&node).await?;
        // It may have changed hands meanwhile.
        let node = self.node_of(target)?;
        let start_within = self.settings.start_timeout;
        let deadline = Instant::now().later(timeout).later(start_within);
        let order = RunStep {
            step_id: step_id.clone(),
            target_id: target.id.clone(),
            incarnation: target.incarnation.clone(),
            epoch: self.epoch(),
            timeout: Some(timeout.into()),
            start_within: Some(start_within.into()),
            kind: Some(kind),
            ..RunStep::default()
        };
        let answer = self.send_step(&node, order)?;
        let answered = timeout_at(deadline, answer).await;
        node.live().steps.remove(&step_id);
        match answered {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(lost(&node)),
            Err(_) => Err(Problem::new(
                Code::OutcomeUnknown,
                format!("{} {:?} did not say what came of step {step_id}", node.noun(), node.id()),
            )
            .hint(
                "it may have been carried out: look at the target before the step is repeated under a new id",
            )),
        }
    }

    fn send_step(
        &self,
        node: &Arc<Node>,
        mut order: RunStep,
    ) -> Result<oneshot::Receiver<StepResult>, Problem> {
        let (sender, receiver) = oneshot::channel();
        // Under the lock, so that no newer answer is taken for the one that this order names.
        let mut live = node.live();
        if !(live.attached && live.welcomed) {
            return Err(unsent(node));
        }
        if live.steps.len() >= WAITING || live.steps.contains_key(&order.step_id) {
            let what =
                format!("step {} waits for {:?} already, or too many others do", order.step_id, node.id());
            return Err(Problem::new(Code::LimitReached, what).hint("wait until earlier steps are over"));
        }
        if let Some(run_step::Kind::Script(command)) = &order.kind {
            self.hand_over(node, &mut live, &command.hash)?;
        }
        order.answered = live.lease.answered();
        live.steps.insert(order.step_id.clone(), sender);
        if node.send(Kind::Step(order)) { Ok(receiver) } else { Err(unsent(node)) }
    }

    /// A node says what came of a step. Nobody may be waiting for it any more.
    pub(super) fn stepped(&self, node: &Node, mut result: StepResult) {
        // They end up in what is recorded of an experiment.
        result.output = page::cut_to(&result.output, OUTPUT);
        if let Some(problem) = &mut result.problem {
            (problem.message, problem.hint) = (page::cut(&problem.message), page::cut(&problem.hint));
        }
        let waiting = node.live().steps.remove(&result.step_id);
        if waiting.is_none_or(|waiting| waiting.send(result).is_err()) {
            self.losses.add("step_results_unwanted", 1);
        }
    }
}

fn unsent(node: &Node) -> Problem {
    Problem::new(Code::AgentUnreachable, format!("agent {:?} was lost; nothing was done", node.id()))
        .hint("kittyctl agent list shows which agents are connected")
}

fn lost(node: &Node) -> Problem {
    Problem::new(Code::ConnectionLost, format!("{} {:?} was lost before it answered", node.noun(), node.id()))
        .hint("the step may have been carried out: look at the target before it is repeated under a new id")
}
