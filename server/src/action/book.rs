//! The book of actions: what was ordered and what became of it. Those that are not over are all here; of
//! those that are over the last ten thousand, and all of them in the store.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use chaos_kitty::v1::{ActionStatus, action_state::Name as State, event};
use prost::Message;
use tokio::{sync::watch, time::Instant};

use crate::{
    event::Bus,
    fleet::{Sent, is_over},
    safety::Permit,
    store::Store,
    task::lock,
};

/// Actions that are over, kept in memory, and their bytes on the wire.
const FINISHED: (usize, usize) = (10_000, 32 << 20);

/// See the module.
pub(super) struct Book {
    store: Store,
    bus: Arc<Bus>,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// By id, which is ordered by time.
    active: BTreeMap<String, Entry>,
    finished: HashMap<String, Arc<ActionStatus>>,
    finished_order: VecDeque<String>,
    finished_bytes: usize,
}

/// An action that is not over.
pub(super) struct Entry {
    pub(super) status: watch::Sender<ActionStatus>,
    pub(super) permit: Permit,
    /// Set when its order is left for the agent.
    pub(super) sent: Arc<OnceLock<Sent>>,
    /// Number of the last report taken in on this connection.
    pub(super) reported: u64,
    /// Somebody wants it to end.
    pub(super) stopping: bool,
    /// When it ends by itself, as far as is known here.
    pub(super) ends_by: Option<Instant>,
    /// While it is UNKNOWN: when it is settled without a word from the agent.
    pub(super) settled_by: Option<Instant>,
}

impl Entry {
    pub(super) fn new(status: ActionStatus, permit: Permit) -> Self {
        Self {
            status: watch::Sender::new(status),
            permit,
            sent: Arc::default(),
            reported: 0,
            stopping: false,
            ends_by: None,
            settled_by: None,
        }
    }
}

impl Book {
    pub(super) fn new(store: Store, bus: Arc<Bus>) -> Self {
        Self { store, bus, pages: Mutex::default() }
    }

    /// Opens the record of an action.
    pub(super) fn open(&self, entry: Entry) -> watch::Receiver<ActionStatus> {
        let receiver = entry.status.subscribe();
        let status = receiver.borrow().clone();
        self.tell(&status);
        let mut pages = self.pages();
        if pages.forget(&status.id) {
            pages.finished_order.retain(|id| *id != status.id);
        }
        pages.active.insert(status.id, entry);
        receiver
    }

    /// Keeps in memory an action of an earlier start that is over.
    pub(super) fn keep(&self, status: ActionStatus) {
        self.pages().keep_finished(status);
    }

    /// Changes an action that is not over, and tells whoever follows it. Gives what it is now, if the change
    /// was one.
    pub(super) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Entry, &mut ActionStatus) -> bool,
    ) -> Option<ActionStatus> {
        let mut pages = self.pages();
        let entry = pages.active.get_mut(id)?;
        let mut status = entry.status.borrow().clone();
        if !change(entry, &mut status) {
            return None;
        }
        let over = is_over(status.state());
        if status.state() != State::Unknown {
            entry.settled_by = None;
        }
        if over {
            entry.permit.ended(&status);
        }
        // The target is free before anybody can see that the action is over.
        let entry = over.then(|| pages.active.remove(id)).flatten();
        if let Some(Entry { status: watchers, permit, .. }) = entry {
            drop(permit);
            watchers.send_replace(status.clone());
            pages.keep_finished(status.clone());
        } else if let Some(entry) = pages.active.get(id) {
            entry.status.send_replace(status.clone());
        }
        drop(pages);
        self.tell(&status);
        Some(status)
    }

    /// Looks at an action that is not over.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.pages().active.get_mut(id).map(look)
    }

    /// An action in memory.
    pub(super) fn get(&self, id: &str) -> Option<ActionStatus> {
        let pages = self.pages();
        let active = pages.active.get(id).map(|entry| entry.status.borrow().clone());
        active.or_else(|| pages.finished.get(id).map(|status| ActionStatus::clone(status)))
    }

    /// Those that are not over, newest first.
    pub(super) fn active(&self) -> Vec<ActionStatus> {
        self.pages().active.values().rev().map(|entry| entry.status.borrow().clone()).collect()
    }

    /// Those in memory that are over, newest first.
    pub(super) fn finished(&self) -> Vec<ActionStatus> {
        let pages = self.pages();
        let ids = pages.finished_order.iter().rev();
        ids.filter_map(|id| pages.finished.get(id)).map(|status| ActionStatus::clone(status)).collect()
    }

    /// Ids of those that are not over and that this node has.
    pub(super) fn active_on(&self, node: &str) -> Vec<String> {
        let pages = self.pages();
        let on_node = pages.active.iter().filter(|(_, entry)| entry.status.borrow().agent_id == node);
        on_node.map(|(id, _)| id.clone()).collect()
    }

    fn tell(&self, status: &ActionStatus) {
        let state = status.state().as_str_name();
        if let Some(problem) = &status.problem {
            tracing::info!(
                action = status.id,
                target = status.target_id,
                state,
                code = problem.code,
                error = problem.message,
                "action"
            );
        } else {
            tracing::info!(
                action = status.id,
                target = status.target_id,
                state,
                source = status.source,
                "action"
            );
        }
        if status.state() != State::Admitted {
            self.store.record_action(status);
        }
        self.bus.publish_with(|| {
            let message = format!("action {} on {}: {state}", status.id, status.target_name);
            (event::Kind::Action(status.clone()), message)
        });
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        lock(&self.pages)
    }
}

impl Pages {
    fn keep_finished(&mut self, status: ActionStatus) {
        let (most, most_bytes) = FINISHED;
        self.finished_bytes += status.encoded_len();
        self.finished_order.push_back(status.id.clone());
        if let Some(before) = self.finished.insert(status.id.clone(), Arc::new(status)) {
            self.finished_bytes -= before.encoded_len();
        }
        while self.finished_order.len() > most || self.finished_bytes > most_bytes {
            let Some(oldest) = self.finished_order.pop_front() else { return };
            self.forget(&oldest);
        }
    }

    /// False: it was not among those that are over.
    fn forget(&mut self, id: &str) -> bool {
        let forgotten = self.finished.remove(id);
        self.finished_bytes -= forgotten.as_ref().map_or(0, |status| status.encoded_len());
        forgotten.is_some()
    }
}
