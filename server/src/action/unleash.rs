//! From a request to orders: checked, targets chosen, admitted, recorded, sent.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use chaos_kitty::{
    Code, Later, Problem, Timestamp, telemetry,
    v1::{
        Action, ActionStatus, Target, UnleashRequest, action::Kind, action_kind::Name,
        action_state::Name as State,
    },
};
use futures_util::{
    Stream, StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use tokio::{sync::watch, time::timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Actions,
    book::Entry,
    choose::{Amount, Candidate, choose},
    settle,
    validate::{self, Whom},
};
use crate::fleet::{is_over, process};
use crate::task::{self, OnPanic};

/// Who asked, where nobody says.
const SOURCE: &str = "operator";

/// The news of the actions of one request, each from where it is now to where it is over. Dropping it ends
/// no fault.
pub struct Updates(BoxStream<'static, ActionStatus>);

impl Stream for Updates {
    type Item = ActionStatus;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ActionStatus>> {
        self.0.poll_next_unpin(context)
    }
}

impl Actions {
    /// Applies an action to one target, or to some of a selection. Resolves once it is admitted and recorded;
    /// orders are then under way. `traceparent` is the caller's trace context, empty for none.
    ///
    /// # Errors
    /// Nothing was admitted: the request is malformed, nothing fits it, or safety refuses all of it.
    pub async fn unleash(&self, request: UnleashRequest, traceparent: String) -> Result<Updates, Problem> {
        let span = tracing::info_span!("unleash");
        telemetry::continue_from(&span, &traceparent);
        // Orders are the span's children, or the caller's where nobody keeps spans.
        let own = span.in_scope(telemetry::traceparent);
        let traceparent = if own.is_empty() { traceparent } else { own };
        self.carry_out(request, &traceparent).instrument(span).await
    }

    async fn carry_out(&self, request: UnleashRequest, traceparent: &str) -> Result<Updates, Problem> {
        let whom = validate::whom(&request)?;
        let action = self.checked(request.action)?;
        self.gate.is_open()?;
        let targets = self.targets(whom, &action, request.seed)?;
        let source = if request.source.is_empty() { SOURCE } else { &request.source };
        let mut refused = Vec::new();
        let mut admitted = Vec::new();
        for target in targets {
            match self.admit(Uuid::now_v7().to_string(), &target, &action, source) {
                Ok(entry) => admitted.push(entry),
                Err(problem) => refused.push((target, problem)),
            }
        }
        if let (true, Some((_, problem))) = (admitted.is_empty(), refused.first()) {
            return Err(problem.clone());
        }
        self.record(&admitted).await?;
        let followed: Vec<_> =
            admitted.into_iter().map(|entry| follow(self.order(entry, &action, traceparent))).collect();
        let refused: Vec<_> =
            refused.into_iter().map(|(target, problem)| refusal(&target, &action, source, problem)).collect();
        let all = stream::iter(refused).chain(stream::select_all(followed));
        Ok(Updates(all.boxed()))
    }

    /// Applies an action to one life of a target, under an id that the caller has written down before. Resolves once it
    /// is admitted and recorded, or was before: whatever became of it, it is not ordered again.
    ///
    /// # Errors
    /// Nothing was admitted, see [`Self::unleash`].
    pub async fn unleash_as(
        &self,
        id: &str,
        target: &Arc<Target>,
        action: Action,
        source: &str,
    ) -> Result<(), Problem> {
        if self.recorded(id).await?.is_some() {
            return Ok(());
        }
        let action = self.checked(Some(action))?;
        self.can_take(target, &action)?;
        let entry = self.admit(id.to_owned(), target, &action, source)?;
        self.record(std::slice::from_ref(&entry)).await?;
        drop(self.order(entry, &action, ""));
        Ok(())
    }

    /// An action that can be ordered: a script is named by its hash too.
    fn checked(&self, action: Option<Action>) -> Result<Action, Problem> {
        let mut action = validate::action(action, self.longest)?;
        if let Some(Kind::Script(run)) = &mut action.kind {
            self.scripts.get(&run.name)?.hash.clone_into(&mut run.hash);
        }
        Ok(action)
    }

    fn targets(&self, whom: Whom, action: &Action, seed: Option<u64>) -> Result<Vec<Arc<Target>>, Problem> {
        let (selector, amount) = match whom {
            Whom::Named(name) => {
                let target = self.fleet.resolve(&name)?;
                self.can_take(&target, action)?;
                return Ok(vec![target]);
            }
            Whom::Some { selector, amount } => (selector, amount),
        };
        let all = self.fleet.roster(&selector)?;
        let Some(first) = all.first() else {
            return Err(Problem::new(Code::NoSuchTarget, "no target fits the selector")
                .hint("kittyctl target list shows those there are"));
        };
        let able: Vec<_> =
            all.iter().filter(|target| self.can_take(target, action).is_ok()).cloned().collect();
        if able.is_empty() {
            self.can_take(first, action)?;
        }
        // Where it works on none, as far as their agents told, one of them says why.
        let (works, others): (Vec<_>, Vec<_>) =
            able.into_iter().partition(|target| self.works_on(target, action));
        let able = if works.is_empty() { others } else { works };
        self.draw(&able, amount, seed.unwrap_or_else(rand::random))
    }

    /// Whether the target's platform can do this to it, and a script suits it.
    fn can_take(&self, target: &Target, action: &Action) -> Result<(), Problem> {
        can_take(target, action)?;
        match &action.kind {
            Some(Kind::Script(run)) => self.scripts.get(&run.name)?.suits(target),
            _ => Ok(()),
        }
    }

    /// Whether a script finds on the target what it needs, as far as that is known.
    fn works_on(&self, target: &Target, action: &Action) -> bool {
        match &action.kind {
            Some(Kind::Script(run)) => self
                .scripts
                .get(&run.name)
                .is_ok_and(|script| script.works_on(target, &self.missing.on(target))),
            _ => true,
        }
    }

    fn draw(&self, able: &[Arc<Target>], amount: Amount, seed: u64) -> Result<Vec<Arc<Target>>, Problem> {
        let standing = self.gate.standing(able);
        let candidates: Vec<_> = able
            .iter()
            .zip(standing)
            .map(|(target, standing)| Candidate {
                group: (&target.platform_type, group_or_own(target)),
                is_spared: standing.is_spared,
                room: standing.room,
            })
            .collect();
        let chosen = choose(&candidates, amount, seed);
        if chosen.is_empty() {
            let message = format!("none of the {} targets that fit may be hit now", able.len());
            return Err(Problem::new(Code::TooFewSurvivors, message)
                .hint("of each group somebody healthy is left alone, and limits hold; wait until others are healthy again"));
        }
        Ok(chosen.into_iter().map(|index| able[index].clone()).collect())
    }

    fn admit(
        &self,
        id: String,
        target: &Arc<Target>,
        action: &Action,
        source: &str,
    ) -> Result<Entry, Problem> {
        let mut status =
            ActionStatus { id, state: State::Admitted.into(), ..describe(target, action, source) };
        let permit = self.gate.admit(&status.id, target, action)?;
        status.group_size = u32::try_from(permit.group_size()).unwrap_or(u32::MAX);
        Ok(Entry::new(status, permit))
    }

    /// An action is in the store before it is ordered.
    async fn record(&self, admitted: &[Entry]) -> Result<(), Problem> {
        let statuses: Vec<_> = admitted.iter().map(|entry| entry.status.borrow().clone()).collect();
        join_all(statuses.iter().map(|status| self.store.put_action(status))).await.into_iter().collect()
    }

    /// Sends the order, in a task that does not end with the call.
    fn order(&self, entry: Entry, action: &Action, traceparent: &str) -> watch::Receiver<ActionStatus> {
        let dispatch = entry.permit.dispatch(action.clone(), traceparent.to_owned(), entry.sent.clone());
        let followed = self.book.open(entry);
        let (this, mut news) = (self.this.clone(), followed.clone());
        let id = news.borrow().id.clone();
        let patience = self.fleet.settings().start_timeout;
        task::spawn(OnPanic::Abort, async move {
            // Whether an order left whose dispatch panicked is not known.
            if let Ok(Err(problem)) = task::caught(dispatch).await {
                if let Some(actions) = this.upgrade() {
                    actions.not_ordered(&id, problem);
                }
                return;
            }
            if let Some(actions) = this.upgrade() {
                actions.stop_again(&id);
            }
            let acknowledged = news.wait_for(|status| status.state() != State::Admitted);
            if timeout(patience, acknowledged).await.is_err()
                && let Some(actions) = this.upgrade()
            {
                actions.unacknowledged(&id);
            }
        });
        followed
    }

    /// Its order never left.
    fn not_ordered(&self, id: &str, problem: Problem) {
        self.book.change(id, |_, status| {
            status.state = State::Refused.into();
            status.problem = Some(problem.into());
            status.ended_at = Some(Timestamp::now());
            true
        });
    }

    /// The agent did not say within the start timeout that it has the order.
    fn unacknowledged(&self, id: &str) {
        let start_timeout = self.fleet.settings().start_timeout;
        let lease = self.fleet.settings().lease;
        let held = self.book.get(id).and_then(|status| settle::held_for(&status)).unwrap_or_default();
        let settled_by = tokio::time::Instant::now().later(lease).later(held);
        self.unknown(id, settle::no_answer(start_timeout), settled_by, |status| {
            status.state() == State::Admitted
        });
    }
}

/// Everything of a status but its id that is known before anything is done.
fn describe(target: &Target, action: &Action, source: &str) -> ActionStatus {
    ActionStatus {
        target_id: target.id.clone(),
        target_name: target.name.clone(),
        incarnation: target.incarnation.clone(),
        agent_id: target.agent_id.clone(),
        action: Some(action.clone()),
        source: source.to_owned(),
        created_at: Some(Timestamp::now()),
        aggregation_identifier: target.aggregation_identifier.clone(),
        platform_type: target.platform_type.clone(),
        process_host: process(target).map(|(host, _)| host).unwrap_or_default(),
        ..ActionStatus::default()
    }
}

/// The news of a target that safety refused while others of the same request were admitted.
fn refusal(target: &Target, action: &Action, source: &str, problem: Problem) -> ActionStatus {
    ActionStatus {
        id: Uuid::now_v7().to_string(),
        state: State::Refused.into(),
        problem: Some(problem.into()),
        ended_at: Some(Timestamp::now()),
        ..describe(target, action, source)
    }
}

/// A target that belongs to no group is on its own.
fn group_or_own(target: &Target) -> &str {
    let group = &target.aggregation_identifier;
    if group.is_empty() { &target.id } else { group }
}

/// Whether the target's platform can do this to it.
fn can_take(target: &Target, action: &Action) -> Result<(), Problem> {
    let name = action.kind.as_ref().map_or(Name::Unspecified, Kind::name);
    if target.actions.contains(&i32::from(name)) {
        return Ok(());
    }
    let withheld = target.withheld.iter().find(|withheld| withheld.action() == name);
    if let Some(problem) = withheld.and_then(|withheld| withheld.problem.clone()) {
        return Err(problem.into());
    }
    let can: Vec<_> = target.actions().map(Name::word).collect();
    let asked = name.word();
    let mut message = format!("{} ({}) can not take {asked}", target.name, target.platform_type);
    let is_elsewhere = target.platform_type == "KubernetesPlatform" && target.pids.is_empty();
    if is_elsewhere {
        message.push_str(&format!(": the agent that offers it is not on its node, {}", target.host));
    }
    let hint = match (name, can.is_empty()) {
        _ if is_elsewhere => format!("run an agent on that node; without one it takes {}", can.join(", ")),
        (Name::Error | Name::Gc, _) => {
            format!("it takes {}; with the worker SDK a service takes {asked} itself", can.join(", "))
        }
        (_, true) => {
            "it takes no action at all; `kitty-agent check` on its host says what is missing".to_owned()
        }
        (Name::Stop | Name::Restart, _) if is_run_by_somebody(target) => {
            format!("it takes {}; what would be gone for good is not ended and started", can.join(", "))
        }
        (Name::Delay | Name::Kill | Name::Memory | Name::Cpu | Name::Script, _) => {
            let can = can.join(", ");
            format!("it takes {can}; `kitty-agent check` on its host says which rights the agent lacks")
        }
        _ => format!("it takes {}", can.join(", ")),
    };
    Err(Problem::new(Code::Unsupported, message).hint(hint))
}

fn is_run_by_somebody(target: &Target) -> bool {
    matches!(target.platform_type.as_str(), "DockerPlatform" | "SystemdPlatform")
}

/// What an action is now, and each news of it until it is over, or waits for a person.
pub(super) fn follow(news: watch::Receiver<ActionStatus>) -> BoxStream<'static, ActionStatus> {
    stream::unfold(Some((news, true)), async |state| {
        let (mut news, first) = state?;
        if !first {
            news.changed().await.ok()?;
        }
        let status = news.borrow_and_update().clone();
        let ends = is_over(status.state()) || status.state() == State::Stuck;
        let next = (!ends).then_some((news, false));
        Some((status, next))
    })
    .boxed()
}
