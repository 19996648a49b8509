//! Reports: how they are made, and their way to the uplink.

use std::sync::atomic::{AtomicU64, Ordering};

use chaos_kitty::{
    Problem, Timestamp,
    v1::{self, ActionReport, StartAction, action_state::Name as State},
};
use tokio::sync::mpsc;

/// The sending end. Never waits: what finds no room is lost and counted, and the server learns of the action
/// by the next Hello.
pub(super) struct Reports {
    sender: mpsc::Sender<ActionReport>,
    lost: AtomicU64,
}

impl Reports {
    pub(super) fn new(room: usize) -> (Self, mpsc::Receiver<ActionReport>) {
        let (sender, receiver) = mpsc::channel(room);
        (Self { sender, lost: AtomicU64::new(0) }, receiver)
    }

    pub(super) fn send(&self, report: ActionReport) {
        if let Err(error) = self.sender.try_send(report) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "a report of an action is lost");
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A report of that action, now.
pub(super) fn of(order: &StartAction, state: State) -> ActionReport {
    ActionReport {
        action_id: order.action_id.clone(),
        target_id: order.target_id.clone(),
        state: state.into(),
        at: Some(Timestamp::now()),
        ..ActionReport::default()
    }
}

/// The order was turned down before anything was done.
pub(super) fn refused(order: &StartAction, problem: Problem) -> ActionReport {
    ActionReport { problem: Some(v1::Problem::from(problem)), ..of(order, State::Refused) }
}
