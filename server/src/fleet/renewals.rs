//! When each node's lease is renewed: one heap and one task for all, so that an idle node costs one entry.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, SystemTime},
};

use chaos_kitty::{Code, Problem, v1::server_message::Kind};
use tokio::{sync::Notify, time::Instant};

use super::{Fleet, departure::Departure, node::Node, session::refusal};
use crate::task::lock;

/// How often groups that nobody belongs to any more are forgotten.
const PRUNING: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    heap: Mutex<BinaryHeap<Entry>>,
    earlier: Notify,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    node: Weak<Node>,
}

impl Renewals {
    fn push(&self, due: Instant, node: &Arc<Node>) {
        let mut heap = self.lock();
        let first = heap.peek().is_none_or(|first| due < first.due);
        heap.push(Entry { due, node: Arc::downgrade(node) });
        if first {
            self.earlier.notify_one();
        }
    }

    /// Those that are due, and when the next one is.
    fn take_due(&self, now: Instant) -> (Vec<Arc<Node>>, Option<Instant>) {
        let mut heap = self.lock();
        let mut due = Vec::new();
        while let Some(first) = heap.peek() {
            if first.due > now {
                return (due, Some(first.due));
            }
            let entry = heap.pop().and_then(|entry| Some((entry.node.upgrade()?, entry.due)));
            // An entry that was overtaken by an earlier one does not count.
            due.extend(entry.filter(|(node, due)| node.live().renewal_due == *due).map(|(node, _)| node));
        }
        (due, None)
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Entry>> {
        lock(&self.heap)
    }
}

impl Fleet {
    /// Renews every lease when it is due, for as long as the fleet lives.
    pub(super) async fn keep_renewing(fleet: Weak<Self>, renewals: Arc<Renewals>) {
        let mut pruned = Instant::now();
        loop {
            let now = Instant::now();
            let (due, next) = renewals.take_due(now);
            let Some(fleet) = fleet.upgrade() else { return };
            for node in due {
                fleet.renew(&node, now);
            }
            if now.duration_since(pruned) >= PRUNING {
                fleet.state().roster.prune(now);
                pruned = now;
            }
            drop(fleet);
            let wake = next.unwrap_or(now + PRUNING);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = renewals.earlier.notified() => {}
            }
        }
    }

    /// Sees to it that the node's next renewal is not later than what it holds allows.
    pub(super) fn renew_in_time(&self, node: &Arc<Node>) {
        let due = {
            let mut live = node.live();
            let due = Instant::now() + live.lease.interval(!live.held.is_empty());
            live.renewal_due = due;
            due
        };
        self.renewals.push(due, node);
    }

    /// Something is held from now on: the next renewal may have to be sooner.
    pub(super) fn holds(&self, node: &Arc<Node>, action_id: &str) {
        let sooner = {
            let mut live = node.live();
            live.held.insert(action_id.to_owned());
            let due = live.lease.due_for_holding(Instant::now());
            let sooner = due < live.renewal_due;
            if sooner {
                live.renewal_due = due;
            }
            sooner.then_some(due)
        };
        if let Some(due) = sooner {
            self.renewals.push(due, node);
        }
    }

    fn renew(self: &Arc<Self>, node: &Arc<Node>, now: Instant) {
        let (attached, over_by) = {
            let live = node.live();
            (live.attached, live.lease.over_by())
        };
        if !attached {
            return;
        }
        if over_by <= now {
            return self.cut_off(node);
        }
        self.send_renewal(node);
        self.renew_in_time(node);
    }

    /// Sends a renewal now.
    pub(super) fn send_renewal(&self, node: &Node) {
        // Under the lock, so that numbers leave in order.
        let mut live = node.live();
        let renewal = live.lease.renew(self.epoch());
        node.send(Kind::Renewal(renewal));
    }

    /// Takes the answer to a renewal in. False: there was no such renewal.
    pub(super) fn answered(&self, node: &Node, number: u64) -> bool {
        let mut live = node.live();
        live.last_seen = SystemTime::now();
        let asked = live.lease.answer(number, Instant::now());
        drop(live);
        node.answered.notify_waiters();
        asked
    }

    /// A node that has not answered for a lease holds nothing any more, and does not get any order.
    fn cut_off(self: &Arc<Self>, node: &Arc<Node>) {
        let lease = self.settings.lease.as_secs_f64();
        let message = format!("{} {} did not answer for a lease ({lease} s)", node.noun(), node.id());
        let problem = Problem::new(Code::ConnectionLost, message).hint("attach again");
        self.losses.add("nodes_silent", 1);
        if node.is_direct() {
            node.mailbox().close(problem);
        } else {
            node.mailbox().push(refusal(node.id(), problem));
        }
        self.detach(node, Departure::Silent);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// The earliest is the greatest: the heap's first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}
