//! One action on a thread of its own: started, reported, logged, whatever becomes of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{ActionReport, ActionResult, action_state::Name as State, end_reason::Name as EndReason},
};
use tokio::sync::mpsc;
use tracing::Dispatch;

use crate::{
    action::{Application, Outcome, Scene, carry_out},
    hold::Hold,
    order::Order,
};

/// An action to carry out.
pub(crate) struct Job {
    pub(crate) action_id: String,
    pub(crate) target_id: String,
    /// W3C trace context of the caller, for the log.
    pub(crate) traceparent: String,
    pub(crate) order: Order,
    pub(crate) hold: Arc<Hold>,
    pub(crate) application: Arc<Application>,
    pub(crate) reports: mpsc::Sender<ActionReport>,
    /// The application's subscriber, though this thread is not one of its own.
    pub(crate) log: Dispatch,
}

impl Job {
    /// Carries it out on a new thread.
    ///
    /// # Errors
    /// [`Code::TargetLimit`]: the process may have no more threads.
    pub(crate) fn spawn(self) -> Result<(), Problem> {
        let name = format!("kitty-{}", self.order.name());
        let log = self.log.clone();
        let body = move || tracing::dispatcher::with_default(&log, || self.run());
        thread::Builder::new().name(name).spawn(body).map(drop).map_err(|error| {
            Problem::new(Code::TargetLimit, format!("starting a thread for the action: {error}"))
        })
    }

    fn run(self) {
        self.log_start();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let scene = Scene {
                application: &self.application,
                action_id: &self.action_id,
                hold: &self.hold,
                started: &|outcome| self.report(State::Started, Ok(outcome)),
            };
            carry_out(&self.order, &scene)
        }));
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Problem::internal("the action panicked").hint("see the panic in the worker's own log"))
        });
        // Whatever is still held up by it is let go, even if the action broke off.
        let reason = self.hold.ended();
        self.hold.stop(EndReason::Completed);
        self.log_end(&outcome, reason);
        let state = match (&outcome, self.order.duration()) {
            (Err(_), _) => State::Failed,
            (Ok(_), Some(_)) => State::Reverted,
            (Ok(_), None) => State::Done,
        };
        self.report_end(state, outcome, reason);
    }

    fn report(&self, state: State, outcome: Result<Outcome, Problem>) {
        let mut report = report(&self.action_id, &self.target_id, state);
        report.remaining = self.order.duration().map(|_| self.hold.remaining().into());
        self.send(fill(report, outcome));
    }

    fn report_end(&self, state: State, outcome: Result<Outcome, Problem>, reason: Option<EndReason>) {
        let mut report = report(&self.action_id, &self.target_id, state);
        let reason = reason.filter(|_| state == State::Reverted).unwrap_or(match state {
            State::Done => EndReason::Completed,
            _ => EndReason::Unspecified,
        });
        report.end_reason = reason.into();
        self.send(fill(report, outcome));
    }

    /// Fails when the worker is gone: then nobody is left to be told.
    fn send(&self, report: ActionReport) {
        let _ = self.reports.blocking_send(report);
    }

    fn log_start(&self) {
        let (action_id, worker, action) = (&self.action_id, &self.application.name, self.order.name());
        let traceparent = (!self.traceparent.is_empty()).then_some(&self.traceparent);
        let order = tracing::field::debug(&self.order);
        tracing::warn!(%worker, %action_id, action, order, traceparent, "{}", words(&self.order));
    }

    fn log_end(&self, outcome: &Result<Outcome, Problem>, reason: Option<EndReason>) {
        let (action_id, worker, action) = (&self.action_id, &self.application.name, self.order.name());
        let reason = reason.map(|reason| reason.as_str_name());
        match outcome {
            Ok(Outcome { figures, .. }) => {
                let result = ActionResult { kind: Some(figures.clone()) };
                let figures = serde_json::to_string(&result).unwrap_or_default();
                tracing::info!(%worker, %action_id, action, reason, figures, "chaos kitty is done");
            }
            Err(problem) => {
                tracing::warn!(%worker, %action_id, action, %problem, "chaos kitty missed");
            }
        }
    }
}

/// What the kitty does, for the application's log.
const fn words(order: &Order) -> &'static str {
    match order {
        Order::Block { .. } | Order::HoldBack { .. } => "chaos kitty hacks up a hairball",
        Order::Kill { .. } => "chaos kitty scratches the process",
        Order::Memory { .. } => "chaos kitty floops onto the memory",
        Order::Cpu { .. } => "chaos kitty has the zoomies",
        Order::Gc => "chaos kitty grooms the heap",
        Order::Fail { .. } => "chaos kitty yowls",
    }
}

/// A report without particulars, as of now.
pub(crate) fn report(action_id: &str, target_id: &str, state: State) -> ActionReport {
    ActionReport {
        action_id: action_id.to_owned(),
        target_id: target_id.to_owned(),
        state: state.into(),
        at: Some(Timestamp::now()),
        ..Default::default()
    }
}

fn fill(mut report: ActionReport, outcome: Result<Outcome, Problem>) -> ActionReport {
    match outcome {
        Ok(outcome) => {
            report.result = Some(ActionResult { kind: Some(outcome.figures) });
            report.evidence = outcome.evidence;
        }
        Err(problem) => report.problem = Some(problem.into()),
    }
    report
}

/// Whether an action in this state is over.
pub(crate) const fn is_final(state: State) -> bool {
    matches!(state, State::Reverted | State::Done | State::Failed | State::Refused | State::Stuck)
}
