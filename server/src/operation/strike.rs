//! One hit, from its order to its end.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{ActionStatus, Target, UnleashRequest, action_state::Name as State, unleash_request::Choice},
};
use futures_util::{StreamExt, stream::BoxStream};
use tokio::time::timeout;

use super::port::Port;

/// Safety answers at once; an admission that takes longer is lost.
const ADMISSION: Duration = Duration::from_secs(10);
/// How long after its duration a fault may still give news: the longest wait for a lost agent's lease that
/// is of interest to an operation. The fault itself ends by its own deadline and lease.
const NEWS: Duration = Duration::from_secs(60);

/// What an operation is about to do.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) round: u64,
    pub(super) target: Arc<Target>,
    pub(super) action: chaos_kitty::v1::Action,
}

impl Strike {
    /// Orders it. Resolves once it is admitted or refused, within [`ADMISSION`].
    pub(super) async fn order(
        &self,
        port: &dyn Port,
        operation: &str,
    ) -> Result<BoxStream<'static, ActionStatus>, Problem> {
        let request = UnleashRequest {
            action: Some(self.action.clone()),
            choice: Some(Choice::Target(self.target.id.clone())),
            source: format!("operation {operation}"),
            ..UnleashRequest::default()
        };
        timeout(ADMISSION, port.unleash(request)).await.unwrap_or_else(|_| {
            Err(Problem::new(Code::NoAnswer, format!("not admitted within {ADMISSION:?}")))
        })
    }

    /// Follows an admitted one to its end, or as far as there is news. An error if it came to nothing good.
    pub(super) async fn outcome(&self, mut news: BoxStream<'static, ActionStatus>) -> Result<(), Problem> {
        let duration = self.action.duration.and_then(|it| Duration::try_from(it).ok()).unwrap_or_default();
        let mut last = None;
        let followed = async {
            while let Some(status) = news.next().await {
                last = Some(status);
            }
        };
        let in_time = timeout(duration.saturating_add(NEWS), followed).await.is_ok();
        let failed = |status: ActionStatus| {
            let said = status.problem.map(Problem::from);
            Err(said.unwrap_or_else(|| Problem::internal("the action failed and said nothing of why")))
        };
        match last {
            Some(status) if !in_time || matches!(status.state(), State::Unknown) => {
                let state = status.state().as_str_name();
                Err(Problem::new(
                    Code::NoAnswer,
                    format!("the action's last news was {state}, its end is not known"),
                ))
            }
            Some(status) if matches!(status.state(), State::Failed | State::Refused | State::Stuck) => {
                failed(status)
            }
            Some(_) => Ok(()),
            None => Err(Problem::new(Code::NoAnswer, "the action was admitted and never heard of again")),
        }
    }
}

/// A refusal that is no error but the rule at work: the target is left alone this time.
pub(super) fn is_skip(problem: &Problem) -> bool {
    matches!(
        problem.code,
        Code::Halted
            | Code::NotAdmitted
            | Code::Settling
            | Code::TooFewSurvivors
            | Code::LimitReached
            | Code::AlreadyHeld
            | Code::AlreadyInState
    )
}
