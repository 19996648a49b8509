//! One action on one target, as the demo unleashes it.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    client::Client,
    v1::{Action, ActionStatus, UnleashRequest, action_state::Name as State, unleash_request::Choice},
};
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

/// Longest wait for the next word of an action. None of the demo's is held for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An action under way.
pub(super) struct Call {
    updates: Streaming<ActionStatus>,
    last: ActionStatus,
}

impl Call {
    /// Unleashes an action, and follows it until it is in force or over.
    ///
    /// # Errors
    /// The server's refusal.
    pub(super) async fn start(client: &Client, target: &str, action: Action) -> Result<Self, Problem> {
        let request = UnleashRequest {
            action: Some(action),
            choice: Some(Choice::Target(target.to_owned())),
            source: "demo".to_owned(),
            ..Default::default()
        };
        let answer = tokio::time::timeout(PATIENCE, client.clone().unleash(request)).await;
        let updates = answer.map_err(|_| silent())??.into_inner();
        let mut call = Self { updates, last: ActionStatus::default() };
        while !is_in_force(call.last.state()) && call.next().await? {}
        Ok(call)
    }

    /// What was last heard of it.
    pub(super) fn last(&self) -> &ActionStatus {
        &self.last
    }

    /// Follows it to its end.
    ///
    /// # Errors
    /// Nothing is heard of it any more.
    pub(super) async fn end(mut self) -> Result<ActionStatus, Problem> {
        while self.next().await? {}
        Ok(self.last)
    }

    async fn next(&mut self) -> Result<bool, Problem> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = timeout_at(deadline, self.updates.message()).await.map_err(|_| silent())?;
            match message.map_err(Problem::of_stream)? {
                // The server says it again where there is no news.
                Some(status) if status == self.last => {}
                Some(status) => {
                    self.last = status;
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }
}

/// In force, or past it.
fn is_in_force(state: State) -> bool {
    !matches!(state, State::Unspecified | State::Admitted | State::Accepted)
}

fn silent() -> Problem {
    Problem::new(Code::NoAnswer, format!("an action was silent for {PATIENCE:?}"))
}

/// Why it did not end well.
pub(super) fn problem_of(status: &ActionStatus) -> Problem {
    let problem = status.problem.clone().map(Problem::from);
    problem.unwrap_or_else(|| Problem::internal(format!("{} without a reason", status.state().as_str_name())))
}
