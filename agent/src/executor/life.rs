//! The life of one action: the one order of steps for every action, in this file and nowhere else.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    v1::{self, ActionReport, StartAction, action_state::Name as State, end_reason::Name as EndReason},
};
use chaos_kitty_guard::{Undo, hooks, message::Reverted};
use futures_util::future::{self, FutureExt};
use tokio::{sync::watch, time::timeout};

use super::{
    Shared, Tenure,
    admission::Admitted,
    claims::{Holder, Key},
    guard::Armed,
    protected, reason_of,
    recorded::Recorded,
    report,
};
use crate::{
    action::{Arm, Fault, Prepared, Resource, Step},
    host::process::{self, Process},
    journal::Journal,
    platform::Subject,
};

/// Longest look at a target. The server waits 5 s for the first report.
const PREPARE_LIMIT: Duration = Duration::from_secs(4);

/// Longest way into force, e.g. for much memory to become resident.
const INJECT_LIMIT: Duration = Duration::from_secs(120);

/// Longest measurement after something was injected or put back.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How long what broke off is given to turn out to have ended by the guard, or with its target.
const WHO_ENDED_IT: Duration = Duration::from_secs(1);

type Stop = watch::Receiver<Option<EndReason>>;

/// Carries an admitted order out, from the look to the last report.
pub(super) async fn live(shared: Arc<Shared>, order: StartAction, admitted: Admitted, stop: Stop) {
    hooks::point("agent-admitted");
    let tenure = Tenure::new(shared.clone(), order.action_id.clone());
    let Admitted { mut fault, subject, journal, duration, begin_by } = admitted;
    let mut life = Life { shared: &shared, order: &order, begin_by, evidence: Vec::new(), stop };
    let last = match life.prepare(fault.as_mut(), &subject).await {
        Err(problem) => life.refused(fault.as_ref(), problem),
        Ok(_) if fault.resource().is_none() => life.act(fault.as_mut()).await,
        Ok(prepared) => life.record_and_hold(fault.as_mut(), prepared, &subject, duration, journal).await,
    };
    // What a dropped fault ends (its children's pipes) is over before anybody hears that the action is.
    drop(fault);
    tracing::info!(action = last.action_id, state = ?last.state(), reason = ?last.end_reason(), "over");
    tenure.over(last);
}

struct Life<'a> {
    shared: &'a Shared,
    order: &'a StartAction,
    begin_by: Duration,
    evidence: Vec<v1::Evidence>,
    stop: Stop,
}

/// How a fault in force, or on its way there, came to its end.
enum End {
    /// The guard has put it back already.
    Reverted(Reverted),
    /// It is to be put back for this reason.
    Wanted(EndReason),
    /// It broke off; the guard may have put it back since.
    Failed(Problem, Option<Reverted>),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem, None)
    }
}

impl Life<'_> {
    /// Looks at the target. Whatever is wrong, nothing was done.
    async fn prepare(&mut self, fault: &mut dyn Fault, subject: &Subject) -> Result<Prepared, Problem> {
        let mut prepared = within(PREPARE_LIMIT, "looking at the target", fault.prepare()).await?;
        self.evidence.append(&mut prepared.evidence);
        let own = [std::process::id(), self.shared.link.pid().unwrap_or_default()];
        let main = subject.main.into_iter();
        for process in main.chain(prepared.processes.iter().copied()) {
            protected::check(process.pid, &own)?;
        }
        if let Some(resource) = fault.resource() {
            self.claim(&prepared.processes, resource)?;
        }
        if let Some(reason) = *self.stop.borrow() {
            return Err(stopped_early(reason));
        }
        self.report(State::Accepted, fault);
        Ok(prepared)
    }

    fn claim(&self, processes: &[Process], resource: Resource) -> Result<(), Problem> {
        let keys: Vec<_> =
            processes.iter().map(|process| Key { holder: Holder::Process(*process), resource }).collect();
        self.shared.state().claims.claim(&self.order.action_id, &keys)
    }

    /// Whether it may still begin: this process may have been stopped since the order came.
    fn in_time(&self) -> Result<(), Problem> {
        if boot_time() <= self.begin_by {
            return Ok(());
        }
        Err(Problem::new(Code::OrderTooLate, "it could not begin in time, so nothing was done")
            .hint("order it again; look whether the host is overloaded"))
    }

    /// What holds nothing: do it, and look whether it took effect.
    async fn act(&mut self, fault: &mut dyn Fault) -> ActionReport {
        let done = async {
            self.in_time()?;
            within(INJECT_LIMIT, "carrying it out", fault.inject(&NothingToArm)).await?;
            within(LOOK_LIMIT, "looking at its effect", fault.verify()).await
        };
        match done.await {
            Ok(mut seen) => {
                self.evidence.append(&mut seen);
                ActionReport { end_reason: EndReason::Completed.into(), ..self.compose(State::Done, fault) }
            }
            Err(problem) => self.failed(fault, problem),
        }
    }

    /// What holds something: into the journal, hold it, out of the journal. What could not be put back stays there.
    async fn record_and_hold(
        &mut self,
        fault: &mut dyn Fault,
        prepared: Prepared,
        subject: &Subject,
        duration: Duration,
        journal: Journal,
    ) -> ActionReport {
        hooks::point("agent-before-journal");
        let recorded = match Recorded::begin(journal, self.order, prepared.undos.clone()).await {
            Ok(recorded) => recorded,
            Err(problem) => return self.failed(fault, problem),
        };
        let last = self.hold(fault, prepared, subject, duration, &recorded).await;
        hooks::point("agent-disarmed");
        if last.state() != State::Stuck {
            recorded.over().await;
        }
        last
    }

    /// Arm, inject, verify, hold, revert, verify, disarm.
    async fn hold(
        &mut self,
        fault: &mut dyn Fault,
        prepared: Prepared,
        subject: &Subject,
        duration: Duration,
        recorded: &Recorded,
    ) -> ActionReport {
        let latest_end = boot_time() + INJECT_LIMIT + duration;
        let link = &self.shared.link;
        hooks::point("agent-before-arm");
        let mut armed = match link.arm(&self.order.action_id, prepared.undos, latest_end).await {
            Ok(armed) => armed,
            Err(problem) => return self.failed(fault, problem),
        };
        hooks::point("agent-armed");
        let (end, in_force) = match self.bring_into_force(fault, &mut armed, duration, recorded).await {
            Err(end) => (end, None),
            Ok(since) => {
                self.started(fault, since.saturating_add(duration));
                (self.wait(fault, &mut armed, subject).await, Some(since))
            }
        };
        self.put_back(fault, armed, end, in_force).await
    }

    /// Returns since when it is in force.
    async fn bring_into_force(
        &mut self,
        fault: &mut dyn Fault,
        armed: &mut Armed,
        duration: Duration,
        recorded: &Recorded,
    ) -> Result<Duration, End> {
        self.in_time()?;
        let (guard, reverted) = armed.split();
        let arm = recorded.before(guard);
        let since = tokio::select! {
            biased;
            end = reverted.next() => return Err(End::Reverted(end)),
            reason = stopped(&mut self.stop) => return Err(End::Wanted(reason)),
            injected = within(INJECT_LIMIT, "injecting it", fault.inject(&arm)) => injected?,
        };
        hooks::point("agent-injected");
        armed.deadline(since.saturating_add(duration)).await;
        let seen = within(LOOK_LIMIT, "looking whether it took effect", fault.verify()).await;
        self.evidence.append(&mut seen?);
        hooks::point("agent-before-started");
        Ok(since)
    }

    fn started(&self, fault: &dyn Fault, deadline: Duration) {
        if let Some(live) = self.shared.state().live.get_mut(&self.order.action_id) {
            live.deadline = Some(deadline);
        }
        self.report(State::Started, fault);
        hooks::point("agent-started");
    }

    /// Waits for the end, whatever it is.
    async fn wait(&mut self, fault: &mut dyn Fault, armed: &mut Armed, subject: &Subject) -> End {
        let (_, reverted) = armed.split();
        let main = subject.main.filter(|_| !fault.ends_its_target());
        tokio::select! {
            biased;
            end = reverted.next() => End::Reverted(end),
            reason = stopped(&mut self.stop) => End::Wanted(reason),
            () = gone(main) => End::Wanted(EndReason::TargetGone),
            over = fault.over() => match over {
                Ok(()) => End::Wanted(EndReason::Completed),
                Err(problem) => self.lost(problem, armed, main).await,
            },
        }
    }

    /// It is not in force any more: by the guard, whose word is on the way, with its target, or else it broke off.
    async fn lost(&mut self, problem: Problem, armed: &mut Armed, main: Option<Process>) -> End {
        let seen = boot_time();
        let (_, reverted) = armed.split();
        tokio::select! {
            biased;
            () = gone(main) => End::Wanted(EndReason::TargetGone),
            end = reverted.next() => match end.began <= seen {
                true => End::Reverted(end),
                false => End::Failed(problem, Some(end)),
            },
            _ = stopped(&mut self.stop) => problem.into(),
            () = tokio::time::sleep(WHO_ENDED_IT) => problem.into(),
        }
    }

    /// The guard puts it back, we look, the guard forgets it.
    async fn put_back(
        &mut self,
        fault: &mut dyn Fault,
        mut armed: Armed,
        end: End,
        in_force: Option<Duration>,
    ) -> ActionReport {
        hooks::point("agent-before-revert");
        let reverted = match &end {
            // What was put back before it was in force (we hung, the lease ran out) came into force afterwards:
            // once more.
            End::Reverted(reverted) | End::Failed(_, Some(reverted))
                if in_force.is_some_and(|since| since <= reverted.at) =>
            {
                reverted.clone()
            }
            _ => armed.revert().await,
        };
        hooks::point("agent-reverted");
        let settled = within(LOOK_LIMIT, "looking whether it is put back", fault.settle(&reverted)).await;
        let stuck = stuck(&reverted).or_else(|| match settled {
            Ok(mut seen) => {
                self.evidence.append(&mut seen);
                None
            }
            Err(problem) => Some(problem),
        });
        hooks::point("agent-before-disarm");
        armed.disarm().await;
        let reason = match &end {
            End::Reverted(reverted) => reason_of(reverted.why),
            End::Wanted(reason) => Some(*reason),
            End::Failed(..) => None,
        };
        let mut report = match (stuck, end) {
            (Some(problem), _) => self.troubled(State::Stuck, fault, problem),
            (None, End::Failed(problem, _)) => self.failed(fault, problem),
            (None, _) if in_force.is_some() => self.compose(State::Reverted, fault),
            (None, _) => self.failed(fault, stopped_early(reason.unwrap_or_default())),
        };
        report.set_end_reason(reason.unwrap_or_default());
        report
    }

    fn report(&self, state: State, fault: &dyn Fault) {
        self.shared.report(self.compose(state, fault));
    }

    fn compose(&self, state: State, fault: &dyn Fault) -> ActionReport {
        let live = self.shared.state();
        let deadline = live.live.get(&self.order.action_id).and_then(|live| live.deadline);
        let remaining = deadline.filter(|_| state == State::Started);
        ActionReport {
            result: fault.figures().map(|kind| v1::ActionResult { kind: Some(kind) }),
            evidence: self.evidence.clone(),
            remaining: remaining.map(|deadline| deadline.saturating_sub(boot_time()).into()),
            ..report::of(self.order, state)
        }
    }

    /// Nothing was done.
    fn refused(&self, fault: &dyn Fault, problem: Problem) -> ActionReport {
        let lacking = problem.code == Code::MissingDependency;
        let result = fault.figures().filter(|_| lacking).map(|kind| v1::ActionResult { kind: Some(kind) });
        ActionReport { result, ..report::refused(self.order, problem) }
    }

    fn troubled(&self, state: State, fault: &dyn Fault, problem: Problem) -> ActionReport {
        ActionReport { problem: Some(problem.into()), ..self.compose(state, fault) }
    }

    fn failed(&self, fault: &dyn Fault, problem: Problem) -> ActionReport {
        self.troubled(State::Failed, fault, problem)
    }
}

/// For what holds nothing.
struct NothingToArm;

impl Arm for NothingToArm {
    fn rearm(&self, _: Vec<Undo>) -> Step<'_, ()> {
        future::ready(Err(Problem::internal("an action that holds nothing has an undo"))).boxed()
    }
}

async fn within<T>(limit: Duration, what: &str, step: Step<'_, T>) -> Result<T, Problem> {
    timeout(limit, step).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::NoAnswer, format!("{what} took longer than {limit:?}"))
            .hint("look whether the host is overloaded"))
    })
}

async fn stopped(stop: &mut Stop) -> EndReason {
    match stop.wait_for(Option::is_some).await.map(|reason| *reason) {
        Ok(Some(reason)) => reason,
        // Its sender lives for as long as the action.
        Ok(None) | Err(_) => future::pending().await,
    }
}

async fn gone(main: Option<Process>) {
    match main.map(process::ended) {
        None => future::pending().await,
        Some(ended) => {
            if let Err(error) = ended.await {
                tracing::warn!(%error, "the end of a target can not be watched");
                future::pending().await
            }
        }
    }
}

fn stopped_early(reason: EndReason) -> Problem {
    let (code, why) = match reason {
        EndReason::Halted => (Code::Halted, "everything was halted"),
        EndReason::Shutdown => (Code::AgentUnreachable, "the agent was shut down"),
        EndReason::Lease => (Code::OrderTooLate, "the lease ran out"),
        EndReason::GuardGone => (Code::GuardUnavailable, "the guard died"),
        EndReason::TargetGone => (Code::TargetGone, "the target ended"),
        _ => (Code::NoAnswer, "it was stopped"),
    };
    Problem::new(code, format!("{why} before it was in force"))
}

/// What the guard could not put back: a person is needed.
fn stuck(reverted: &Reverted) -> Option<Problem> {
    let failures: Vec<_> = reverted.failures().collect();
    let first = failures.first()?.failure.as_deref().unwrap_or_default();
    let commands: Vec<_> = failures.iter().map(|failure| failure.command.as_str()).collect();
    Some(
        Problem::new(Code::Stuck, format!("it could not be put back: {first}"))
            .hint(format!("run on the host: {}", commands.join("; "))),
    )
}
