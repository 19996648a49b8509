//! Fan-out of what happens to whoever watches, and notifications (`notify`). Nobody is waited for: a watcher that falls behind by more
//! than [`BUFFER`] events is ended, and told how many it lost.

mod level;
pub mod notify;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use crate::task::lock;
use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{Event, event::Kind},
};
use futures_util::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// Events that a watcher may be behind.
pub const BUFFER: usize = 4096;

/// Every kind of event, by its field name in `Event.kind`.
pub const KINDS: &[&str] = &[
    "agent_joined",
    "agent_left",
    "target_added",
    "target_removed",
    "action",
    "operation_round",
    "operation_changed",
    "halted",
    "resumed",
    "target_changed",
    "experiment",
    "admin_state",
    "suite",
];

/// Where events are published and watched.
#[derive(Debug)]
pub struct Bus {
    /// The number of the last event. Its lock keeps numbers and order of delivery the same.
    last: Mutex<u64>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { last: Mutex::new(0), sender: broadcast::channel(BUFFER).0 }
    }
}

impl Bus {
    /// Tells all watchers. `message` is the line for people.
    pub fn publish(&self, kind: Kind, message: impl Into<String>) {
        self.publish_with(|| (kind, message.into()));
    }

    /// The same, where the event is worth making only if somebody watches.
    pub fn publish_with(&self, make: impl FnOnce() -> (Kind, String)) {
        let mut last = lock(&self.last);
        *last += 1;
        if self.sender.receiver_count() == 0 {
            return;
        }
        let (kind, message) = make();
        let level = level::level(&kind).into();
        let event = Event { sequence: *last, at: Some(Timestamp::now()), message, kind: Some(kind), level };
        // An error only says that the last watcher left in between.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Watches from now on; no kinds are all kinds.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`]: a kind that there is not.
    pub fn watch(&self, kinds: &[String]) -> Result<Watch, Problem> {
        if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(Problem::invalid("kinds", format!("there are no events of kind {unknown:?}"))
                .hint(format!("there are {}", KINDS.join(", "))));
        }
        let wanted = KINDS.iter().map(|kind| kinds.is_empty() || kinds.iter().any(|k| k == kind)).collect();
        Ok(Watch { events: Some(BroadcastStream::new(self.sender.subscribe())), wanted })
    }
}

/// Events as they happen. Ends after an error.
#[derive(Debug)]
pub struct Watch {
    events: Option<BroadcastStream<Arc<Event>>>,
    /// In the order of [`KINDS`].
    wanted: Vec<bool>,
}

impl Stream for Watch {
    type Item = Result<Arc<Event>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(events) = &mut self.events else { return Poll::Ready(None) };
            match ready!(Pin::new(events).poll_next(context)) {
                Some(Ok(event)) => {
                    if event.kind.as_ref().is_some_and(|kind| self.wanted[index(kind)]) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Some(Err(BroadcastStreamRecvError::Lagged(lost))) => {
                    self.events = None;
                    return Poll::Ready(Some(Err(fell_behind(lost))));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

fn fell_behind(lost: u64) -> Problem {
    let message = format!("this watcher was behind by more than {BUFFER} events and lost {lost}");
    Problem::new(Code::FellBehind, message).hint("watch again, list what matters, and read faster")
}

/// Of a kind in [`KINDS`].
const fn index(kind: &Kind) -> usize {
    match kind {
        Kind::AgentJoined(_) => 0,
        Kind::AgentLeft(_) => 1,
        Kind::TargetAdded(_) => 2,
        Kind::TargetRemoved(_) => 3,
        Kind::Action(_) => 4,
        Kind::OperationRound(_) => 5,
        Kind::OperationChanged(_) => 6,
        Kind::Halted(_) => 7,
        Kind::Resumed(_) => 8,
        Kind::TargetChanged(_) => 9,
        Kind::Experiment(_) => 10,
        Kind::AdminState(_) => 11,
        Kind::Suite(_) => 12,
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::event::{Halted, Resumed};
    use futures_util::StreamExt;

    use super::*;

    fn halted() -> Kind {
        Kind::Halted(Halted::default())
    }

    #[tokio::test]
    async fn a_watcher_sees_the_kinds_it_asked_for_in_order() {
        let bus = Bus::default();
        let mut watch = bus.watch(&["resumed".to_owned()]).unwrap();
        bus.publish(halted(), "");
        bus.publish(Kind::Resumed(Resumed::default()), "up");
        bus.publish(Kind::Resumed(Resumed::default()), "again");
        let seen = [watch.next().await.unwrap().unwrap(), watch.next().await.unwrap().unwrap()];
        assert_eq!(
            seen.map(|event| (event.sequence, event.message.clone())),
            [(2, "up".to_owned()), (3, "again".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_read_is_ended_and_told_what_it_lost_and_others_are_not() {
        let bus = Bus::default();
        let mut slow = bus.watch(&[]).unwrap();
        for _ in 0..BUFFER + 7 {
            bus.publish(halted(), "");
        }
        let mut fresh = bus.watch(&[]).unwrap();
        let problem = slow.next().await.unwrap().unwrap_err();
        assert_eq!(problem.code, Code::FellBehind);
        assert!(problem.message.contains("lost 7"), "{problem}");
        assert!(slow.next().await.is_none());
        bus.publish(halted(), "");
        assert!(fresh.next().await.unwrap().is_ok());
    }

    #[test]
    fn a_kind_that_there_is_not_is_refused_with_those_there_are() {
        let problem = Bus::default().watch(&["actions".to_owned()]).unwrap_err();
        assert_eq!(problem.code, Code::InvalidArgument);
        assert!(problem.hint.contains("agent_joined"));
    }
}
