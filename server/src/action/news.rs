//! What nodes say of their actions, and what is known when they leave and come back.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{
        ActionReport, ActionResult, ActionStatus, Invoke, KillResult, action::Kind, action_result,
        action_state::Name as State, end_reason::Name as Reason,
    },
};
use futures_util::future::join_all;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Actions,
    book::Entry,
    intake,
    record::{fold, may_follow},
    settle,
};
use crate::fleet::{Ledger, Left, Node, Standing, is_over};
use crate::task::{self, OnPanic};

impl Ledger for Actions {
    fn attached(&self, node: &Arc<Node>, mut held: Vec<ActionReport>) -> Standing {
        self.make_sound(node, &mut held);
        held.sort_by_key(|report| report.sequence);
        let taken = held.last().map_or(0, |report| report.sequence);
        for report in &held {
            // Numbers of another process of the node, or of another stream, say nothing about these.
            self.book.look(&report.action_id, |entry| entry.reported = 0);
            self.take_in(node, report);
        }
        let holds: HashSet<_> = held
            .iter()
            .filter(|report| !is_over(report.state()))
            .map(|report| report.action_id.as_str())
            .collect();
        let halted = self.gate.halted_at().is_some();
        let mut known = Vec::new();
        for id in self.book.active_on(node.id()) {
            if holds.contains(id.as_str()) {
                let goes_on = self.book.look(&id, |entry| !entry.stopping && !halted);
                known.extend(goes_on.filter(|goes_on| *goes_on).map(|_| id));
            } else {
                self.not_brought_back(&id, node);
            }
        }
        Standing { known, taken }
    }

    fn reported(&self, node: &Arc<Node>, mut reports: Vec<ActionReport>) {
        self.make_sound(node, &mut reports);
        let Some(last) = reports.iter().map(|report| report.sequence).max() else { return };
        let changed = reports.iter().filter_map(|report| self.take_in(node, report));
        let over: Vec<_> = changed.filter(|status| is_over(status.state())).collect();
        over.iter().for_each(|status| self.missing.learn(status));
        if node.has_left() {
            // What came too late to count comes again in the Hello of its next attachment.
            return;
        }
        if over.is_empty() {
            return self.fleet.taken(node, last);
        }
        // The node may forget that something is over only when it is known here for good.
        let (store, fleet, node) = (self.store.clone(), self.fleet.clone(), node.clone());
        task::spawn(OnPanic::End, async move {
            let written = join_all(over.iter().map(|status| store.put_action(status))).await;
            match written.into_iter().collect::<Result<Vec<()>, _>>() {
                Ok(_) => fleet.taken(&node, last),
                Err(problem) => tracing::error!(node = node.id(), %problem, "reports were not recorded"),
            }
        });
    }

    fn left(&self, node: &Arc<Node>, how: Left) {
        for id in self.book.active_on(node.id()) {
            match how {
                Left::Ended => self.ended_with_its_process(&id, node),
                Left::Lost { over_by } => self.lost(&id, node, over_by),
            }
        }
    }

    fn invoked(&self, node: &Arc<Node>, invoke: Invoke) {
        self.call(node, invoke);
    }

    fn latched(&self) -> bool {
        self.gate.halted_at().is_some()
    }
}

impl Actions {
    /// What cannot be kept as it was said is cut, or left out, and counted.
    fn make_sound(&self, node: &Node, reports: &mut [ActionReport]) {
        let now = SystemTime::now();
        let changed: u64 = reports.iter_mut().map(|report| intake::sound(report, now)).sum();
        if changed > 0 {
            self.fleet.losses.add("parts_of_reports", changed);
            tracing::debug!(node = node.id(), changed, "parts of reports cannot be kept as they are");
        }
    }

    /// Takes a report in; gives what it changed. One of an attachment that is over counts no more: its actions are
    /// settled without it.
    fn take_in(&self, node: &Node, report: &ActionReport) -> Option<ActionStatus> {
        let known = self.book.look(&report.action_id, |entry| {
            let its_own = entry.status.borrow().agent_id == node.id();
            let new = report.sequence == 0 || report.sequence > entry.reported;
            if its_own && new {
                entry.reported = report.sequence;
            }
            its_own && new
        });
        if !known.unwrap_or_else(|| self.reopen(node, report)) {
            return None;
        }
        self.book.change(&report.action_id, |entry, status| {
            let was = status.state();
            if node.has_left() || !fold(status, report) {
                return false;
            }
            if was == State::Admitted && status.acknowledged_in.is_none() {
                status.acknowledged_in = entry.sent.get().map(|sent| sent.at.elapsed().into());
            }
            if let Some(remaining) = report.remaining {
                let remaining = Duration::try_from(remaining).unwrap_or_default();
                entry.ends_by = Instant::now().checked_add(remaining);
            }
            true
        })
    }

    /// Opens the record of an action that was only assumed to be over, or of one that is stuck on the node and
    /// was ordered by a server that knew more than this one. False: it says nothing new.
    fn reopen(&self, node: &Node, report: &ActionReport) -> bool {
        let known = match self.book.get(&report.action_id) {
            Some(known) if known.assumed && known.agent_id == node.id() => known,
            Some(_) => return false,
            None if report.state() == State::Stuck && Uuid::try_parse(&report.action_id).is_ok() => {
                left_behind(node, report)
            }
            None => {
                self.fleet.losses.add("reports_of_unknown_actions", 1);
                return false;
            }
        };
        if node.has_left() || !may_follow(State::Unknown, report.state()) {
            return false;
        }
        let mut status = known;
        status.state = State::Unknown.into();
        status.assumed = false;
        status.ended_at = None;
        status.end_reason = Reason::Unspecified.into();
        let permit = self.gate.adopt(&status);
        let mut entry = Entry::new(status, permit);
        // Whoever asked for it was told that it is over.
        entry.stopping = true;
        entry.reported = report.sequence;
        self.book.open(entry);
        if !is_over(report.state()) {
            self.fleet.stop(node.id(), &report.action_id);
        }
        true
    }

    /// The node came back without it.
    fn not_brought_back(&self, id: &str, node: &Node) {
        self.book.change(id, |entry, status| {
            let sent = entry.sent.get().copied();
            if sent.is_some_and(|sent| sent.connection == node.connection_id) {
                return false;
            }
            if status.state() == State::Stuck {
                assume(status, Reason::AgentGone, settle::cleared());
                return true;
            }
            if sent.is_none() {
                // Not ordered yet, or of an earlier start of the server.
                let earlier = status.state() == State::Unknown && entry.settled_by.is_some();
                if earlier {
                    assume(status, Reason::AgentGone, settle::forgotten());
                }
                return earlier;
            }
            if status.started_at.is_none() && status.acknowledged_in.is_none() {
                assume(status, Reason::Unspecified, settle::never_arrived());
            } else {
                assume(status, Reason::AgentGone, settle::forgotten());
            }
            true
        });
    }

    /// The worker's process ended: nothing is in force in it, and a kill has done what it was to do.
    fn ended_with_its_process(&self, id: &str, node: &Node) {
        self.book.change(id, |entry, status| {
            if !is_on(entry, node) {
                return false;
            }
            let kill = match status.action.as_ref().and_then(|action| action.kind.as_ref()) {
                Some(Kind::Kill(kill)) if entry.sent.get().is_some() => Some(kill.signal.clone()),
                _ => None,
            };
            let Some(signal) = kill else {
                let message = format!(
                    "the worker's process ended while the action was {}",
                    status.state().as_str_name()
                );
                let problem = Problem::new(Code::TargetGone, message).hint("nothing of the action is left");
                fail(status, Reason::TargetGone, problem);
                return true;
            };
            let signal =
                chaos_kitty::signal::Signal::parse("signal", &signal).map_or("TERM", |signal| signal.name);
            let pids =
                status.incarnation.split(':').next().and_then(|pid| pid.parse().ok()).into_iter().collect();
            let result = KillResult { signal: signal.to_owned(), pids, ended: true };
            status.result = Some(ActionResult { kind: Some(action_result::Kind::Kill(result)) });
            status.state = State::Done.into();
            status.problem = None;
            status.ended_at = Some(Timestamp::now());
            true
        });
    }

    /// Nothing is heard of the node: its actions end by their deadlines, or with its lease.
    fn lost(&self, id: &str, node: &Node, over_by: Instant) {
        let Some(ends_by) = self.book.look(id, |entry| is_on(entry, node).then_some(entry.ends_by)).flatten()
        else {
            return;
        };
        let settled_by = ends_by.map_or(over_by, |end| end.min(over_by));
        self.unknown(id, settle::lost(node.id()), settled_by, |status| status.state() != State::Stuck);
    }
}

/// Whether its order went to this attachment of the node, or to an earlier one.
fn is_on(entry: &Entry, node: &Node) -> bool {
    entry.sent.get().is_none_or(|sent| sent.connection <= node.connection_id)
}

/// It is over, but that was not seen: its node may still say how it ended.
pub(super) fn assume(status: &mut ActionStatus, reason: Reason, problem: Problem) {
    fail(status, reason, problem);
    status.assumed = true;
}

/// All that is known of an action of another time that is stuck on a node.
fn left_behind(node: &Node, report: &ActionReport) -> ActionStatus {
    ActionStatus {
        id: report.action_id.clone(),
        target_id: report.target_id.clone(),
        agent_id: node.id().to_owned(),
        action: report.action.clone(),
        source: "an earlier server".to_owned(),
        created_at: report.at,
        ..ActionStatus::default()
    }
}

fn fail(status: &mut ActionStatus, reason: Reason, problem: Problem) {
    status.state = State::Failed.into();
    status.end_reason = reason.into();
    status.problem = Some(problem.into());
    status.ended_at = Some(Timestamp::now());
}
