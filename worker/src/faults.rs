//! What this worker is ordered to do and what became of it. Lives on the control thread; each action runs
//! on a thread of its own and reports back.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZero,
    sync::Arc,
    thread,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    outbox::Outbox,
    v1::{Action, ActionReport, StartAction, action_state::Name as State, end_reason::Name as EndReason},
};
use tokio::sync::mpsc;
use tracing::Dispatch;

use crate::{
    action::{Application, check},
    hold::{Hold, LeaseCell},
    order::{Order, Resource},
    run::{Job, is_final, report},
};

/// Longest time from the order to the effect.
const PREPARE: Duration = Duration::from_secs(10);
/// How long ids of actions that are over are remembered, so that none is started twice.
const REMEMBER: Duration = Duration::from_secs(3600);
/// How many of them at the most.
const REMEMBERED: usize = 10_000;
/// Actions at a time, those that hold nothing included.
const ACTIVE: usize = 64;

/// See the module.
pub(crate) struct Faults {
    application: Arc<Application>,
    lease: Arc<LeaseCell>,
    active: HashMap<String, Active>,
    /// Ids of actions that are over, and when.
    over: VecDeque<(Duration, String)>,
    outbox: Outbox,
    /// Reports up to this number have been sent on the present stream.
    sent: u64,
    reports: mpsc::Sender<ActionReport>,
    log: Dispatch,
}

struct Active {
    hold: Arc<Hold>,
    resource: Option<Resource>,
    action: Action,
    last: ActionReport,
}

impl Faults {
    /// `reports` leads back to the control thread, which hands what arrives to [`Self::reported`].
    pub(crate) fn new(
        application: Application,
        lease: Arc<LeaseCell>,
        reports: mpsc::Sender<ActionReport>,
        log: Dispatch,
    ) -> Self {
        Self {
            application: Arc::new(application),
            lease,
            active: HashMap::new(),
            over: VecDeque::new(),
            outbox: Outbox::default(),
            sent: 0,
            reports,
            log,
        }
    }

    /// Starts an action that its [`crate::authority::Authority`] has `admitted`, and reports what became of that.
    pub(crate) fn start(&mut self, order: &StartAction, admitted: Result<(), Problem>) {
        if self.is_known(&order.action_id) {
            return;
        }
        if let Err(problem) = admitted.and_then(|()| self.launch(order)) {
            let mut refused = report(&order.action_id, &order.target_id, State::Refused);
            refused.problem = Some(problem.into());
            self.reported(refused);
        }
    }

    fn launch(&mut self, start: &StartAction) -> Result<(), Problem> {
        let action = start.action.clone().ok_or_else(|| Problem::invalid("action", "is required"))?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let order = Order::parse(&action, u32::try_from(cores).unwrap_or(u32::MAX))?;
        self.has_room_for(&order)?;
        check(&order, &self.application)?;
        let hold = Arc::new(Hold::new(self.lease.clone(), PREPARE));
        let mut accepted = report(&start.action_id, &start.target_id, State::Accepted);
        accepted.remaining = order.duration().map(Into::into);
        let accepted = self.outbox.push(accepted);
        let resource = order.resource();
        let active = Active { hold: hold.clone(), resource, action, last: accepted };
        self.active.insert(start.action_id.clone(), active);
        let job = Job {
            action_id: start.action_id.clone(),
            target_id: start.target_id.clone(),
            traceparent: start.traceparent.clone(),
            order,
            hold,
            application: self.application.clone(),
            reports: self.reports.clone(),
            log: self.log.clone(),
        };
        if let Err(problem) = job.spawn() {
            let mut failed = report(&start.action_id, &start.target_id, State::Failed);
            failed.problem = Some(problem.into());
            self.reported(failed);
        }
        Ok(())
    }

    fn has_room_for(&self, order: &Order) -> Result<(), Problem> {
        let resource = order.resource();
        let same = |active: &&Active| resource.is_some() && active.resource == resource;
        if let Some(other) = self.active.values().find(same) {
            let (name, id) = (order.name(), &other.last.action_id);
            return Err(Problem::new(Code::AlreadyHeld, format!("a {name} is in force: action {id}"))
                .hint(format!("wait for its end, or kittyctl action stop {id}")));
        }
        if self.active.len() >= ACTIVE {
            return Err(Problem::new(Code::LimitReached, format!("{ACTIVE} actions are in force")));
        }
        Ok(())
    }

    /// Takes in what an action reports.
    pub(crate) fn reported(&mut self, report: ActionReport) {
        let report = self.outbox.push(report);
        if is_final(report.state()) {
            self.active.remove(&report.action_id);
            let now = boot_time();
            self.over.retain(|(at, _)| now.saturating_sub(*at) < REMEMBER);
            if self.over.len() == REMEMBERED {
                self.over.pop_front();
            }
            self.over.push_back((now, report.action_id));
        } else if let Some(active) = self.active.get_mut(&report.action_id) {
            active.last = report;
        }
    }

    /// The server has taken in the reports up to this number.
    pub(crate) fn taken(&mut self, sequence: u64) {
        self.outbox.taken(sequence);
        for active in self.active.values().filter(|active| active.last.sequence <= sequence) {
            active.hold.acknowledge();
        }
    }

    /// Reports that the present stream has not carried yet.
    pub(crate) fn unsent(&mut self) -> Vec<ActionReport> {
        let unsent: Vec<_> =
            self.outbox.kept().filter(|report| report.sequence > self.sent).cloned().collect();
        self.sent = unsent.last().map_or(self.sent, |report| report.sequence);
        unsent
    }

    /// For the Hello of a new stream: what the server has not taken in, and what is in force.
    pub(crate) fn held(&mut self) -> Vec<ActionReport> {
        self.sent = 0;
        let mut held = self.unsent();
        let in_force = self
            .active
            .values()
            .filter(|active| held.iter().all(|report| report.sequence != active.last.sequence));
        let in_force: Vec<_> = in_force.map(|active| active.last.clone()).collect();
        held.extend(in_force);
        for report in &mut held {
            if let Some(active) = self.active.get(&report.action_id) {
                report.action = Some(active.action.clone());
                report.remaining = active.resource.map(|_| active.hold.remaining().into());
            }
        }
        held
    }

    /// Ends one action.
    pub(crate) fn stop(&self, action_id: &str) {
        if let Some(active) = self.active.get(action_id) {
            active.hold.stop(EndReason::Stopped);
        }
    }

    /// Ends everything but the actions of these ids.
    pub(crate) fn stop_all_but(&self, known: &[String], reason: EndReason) {
        for (_, active) in self.active.iter().filter(|(id, _)| !known.contains(id)) {
            active.hold.stop(reason);
        }
    }

    /// Nothing is in force.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    fn is_known(&self, action_id: &str) -> bool {
        self.active.contains_key(action_id) || self.over.iter().any(|(_, id)| id == action_id)
    }
}
