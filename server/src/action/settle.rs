//! Actions that nothing is heard of: UNKNOWN until their agent is back, or until they must be over.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    v1::{ActionStatus, action_state::Name as State, end_reason::Name as Reason},
};
use tokio::time::Instant;

use super::{Actions, news::assume};
use crate::task::{self, OnPanic};

impl Actions {
    /// Nothing is known of the action; at `settled_by` it is over in any case. Only if it is still as `when`
    /// says.
    pub(super) fn unknown(
        &self,
        id: &str,
        problem: Problem,
        settled_by: Instant,
        when: impl FnOnce(&ActionStatus) -> bool,
    ) {
        let changed = self.book.change(id, |entry, status| {
            if !when(status) {
                return false;
            }
            entry.settled_by = Some(settled_by);
            status.state = State::Unknown.into();
            status.problem = Some(problem.into());
            true
        });
        if changed.is_some() {
            self.settle_later(id.to_owned(), settled_by);
        }
    }

    pub(super) fn settle_later(&self, id: String, settled_by: Instant) {
        let this = self.this.clone();
        task::spawn(OnPanic::Abort, async move {
            tokio::time::sleep_until(settled_by).await;
            if let Some(actions) = this.upgrade() {
                actions.settle(&id, settled_by);
            }
        });
    }

    /// Whatever became of it is over now, unless there were news since.
    fn settle(&self, id: &str, settled_by: Instant) {
        self.book.change(id, |entry, status| {
            if entry.settled_by != Some(settled_by) || status.state() != State::Unknown {
                return false;
            }
            let by_itself = entry.ends_by.is_some_and(|end| end <= settled_by);
            let reason = match held_for(status) {
                None => Reason::Unspecified,
                Some(_) if by_itself => Reason::Deadline,
                Some(_) => Reason::Lease,
            };
            assume(status, reason, unseen(by_itself));
            true
        });
    }
}

/// How long the action is held; `None` for what holds nothing.
pub(super) fn held_for(status: &ActionStatus) -> Option<Duration> {
    let duration = status.action.as_ref()?.duration.as_ref()?;
    Duration::try_from(*duration).ok()
}

pub(super) fn no_answer(patience: Duration) -> Problem {
    let message = format!(
        "the agent did not acknowledge the order within {} s; what became of it is not known",
        patience.as_secs_f64()
    );
    Problem::new(Code::NoAnswer, message).hint("it ends by its deadline or lease; see `kittyctl action list`")
}

pub(super) fn lost(agent: &str) -> Problem {
    let message = format!("the connection to {agent:?} was lost; what became of the action is not known");
    Problem::new(Code::ConnectionLost, message)
        .hint("it ends by its deadline or lease; see `kittyctl action list`")
}

pub(super) fn restarted() -> Problem {
    Problem::new(Code::ConnectionLost, "the server was started anew, and the agent is not back yet")
        .hint("it ends by its deadline or lease; see `kittyctl action list`")
}

pub(super) fn never_arrived() -> Problem {
    Problem::new(Code::NoAnswer, "the agent is back and knows nothing of the order: it did not arrive")
        .hint("order it again")
}

pub(super) fn forgotten() -> Problem {
    Problem::new(Code::NoAnswer, "the agent is back and does not hold it any more; its end was not seen")
        .hint("look at the target: the agent's guard ended the fault when the agent was gone")
}

pub(super) fn cleared() -> Problem {
    Problem::new(Code::NoAnswer, "the agent is back and no longer names it as stuck; its end was not seen")
        .hint("look at the target: somebody put it back by hand, or cleared the agent's journal")
}

fn unseen(by_itself: bool) -> Problem {
    let by = if by_itself { "deadline" } else { "lease" };
    Problem::new(Code::NoAnswer, format!("it ended by its {by} at the latest; its end was not seen"))
        .hint("look at the target, and why its agent is away")
}
