//! How a node leaves, and what is known of what it held.

use std::{sync::Arc, time::Duration};

use chaos_kitty::v1::event;
use tokio::time::Instant;

use super::{Fleet, ledger::Left, node::Node};
use crate::task::{self, OnPanic};

/// The socket of a process that is killed closes just before the process has ended.
const CLOSING: Duration = Duration::from_millis(200);

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// Its stream ended, or that of its relay.
    ConnectionLost,
    /// It said so.
    Goodbye,
    /// Its relay saw its process end.
    ProcessEnded,
    /// Another node has its id now.
    Displaced,
    /// Nothing was heard of it for a lease.
    Silent,
}

impl Fleet {
    /// The node is attached no longer: its targets can not be hit at once, and what it held is settled as
    /// soon as it is known how it left.
    pub(super) fn detach(self: &Arc<Self>, node: &Arc<Node>, how: Departure) {
        let (over_by, holding) = {
            let mut live = node.live();
            if !std::mem::replace(&mut live.attached, false) {
                return;
            }
            // Whoever waits for the answer to a step hears that none will come.
            live.steps.clear();
            (live.lease.over_by(), !live.held.is_empty())
        };
        node.answered.notify_waiters();
        tracing::info!(node = node.id(), ?how, holding, "{} left", node.noun());
        self.hide_targets(node);
        self.bus.publish_with(|| {
            let message = format!("{} {} left ({how:?})", node.noun(), node.id());
            (event::Kind::AgentLeft(node.view(0)), message)
        });
        let ended = how == Departure::ProcessEnded
            || node.process.as_ref().is_some_and(|peer| peer.process.ended_within(Duration::ZERO));
        if ended && node.is_worker() {
            self.ended(node);
        } else if how == Departure::Goodbye && !holding {
            self.forget(node, node.is_worker());
        } else if tokio::runtime::Handle::try_current().is_ok() {
            task::spawn(OnPanic::Abort, self.clone().linger(node.clone(), over_by));
        }
    }

    /// Watches a lost node's process until it is known to have ended, or its lease is over.
    async fn linger(self: Arc<Self>, node: Arc<Node>, over_by: Instant) {
        let process = node.process.as_ref().map(|peer| &peer.process);
        if let Some(process) = process
            && matches!(tokio::time::timeout(CLOSING, process.ended()).await, Ok(Ok(())))
        {
            return self.ended(&node);
        }
        self.tell_left(&node, Left::Lost { over_by });
        if let Some(process) = process
            && matches!(tokio::time::timeout_at(over_by, process.ended()).await, Ok(Ok(())))
        {
            return self.ended(&node);
        }
        tokio::time::sleep_until(over_by).await;
        self.forget(&node, false);
    }

    /// A worker's process has ended, so its target is gone and nothing is in force in it.
    fn ended(&self, node: &Arc<Node>) {
        self.forget(node, true);
        self.tell_left(node, Left::Ended);
    }

    fn tell_left(&self, node: &Arc<Node>, how: Left) {
        if let Some(ledger) = self.ledger() {
            ledger.left(node, how);
        }
    }

    /// Nothing is known of the node any more, unless it has attached anew. Its targets are away, unless they ended with it.
    fn forget(&self, node: &Arc<Node>, ended: bool) {
        let now = Instant::now();
        let mut state = self.state();
        if state.nodes.get(node.id()).is_none_or(|current| !Arc::ptr_eq(current, node)) {
            return;
        }
        state.nodes.remove(node.id());
        if ended {
            state.roster.of_node(node.id()).iter().for_each(|id| state.roster.end(id, now));
        }
    }
}
