//! Fan-out of what happens to whoever watches, and notifications (`notify`). Nobody is waited for: a watcher that falls behind by more
//! events, or more bytes, than `ring` keeps is ended, and told how many it lost.

mod level;
pub mod notify;
mod ring;

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use crate::task::lock;
use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{Event, event::Kind},
};
use futures_util::Stream;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use self::ring::{Found, Ring};

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
#[derive(Debug, Default)]
pub struct Bus {
    /// Its lock keeps numbers and order of delivery the same.
    state: Arc<Mutex<State>>,
    /// Wakes whoever watches.
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last event.
    last: u64,
    ring: Ring,
    watchers: usize,
}

impl Bus {
    /// Tells all watchers. `message` is the line for people.
    pub fn publish(&self, kind: Kind, message: impl Into<String>) {
        self.publish_with(|| (kind, message.into()));
    }

    /// The same, where the event is worth making only if somebody watches.
    pub fn publish_with(&self, make: impl FnOnce() -> (Kind, String)) {
        let mut state = lock(&self.state);
        state.last += 1;
        if state.watchers == 0 {
            return;
        }
        let (kind, message) = make();
        let level = level::level(&kind).into();
        let at = Some(Timestamp::now());
        let event = Event { sequence: state.last, at, message, kind: Some(kind), level };
        state.ring.push(Arc::new(event));
        drop(state);
        self.news.send_replace(());
    }

    #[cfg(test)]
    fn watchers(&self) -> usize {
        lock(&self.state).watchers
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
        let news = WatchStream::from_changes(self.news.subscribe());
        let mut state = lock(&self.state);
        state.watchers += 1;
        let (next, from) = (state.ring.next(), state.last);
        drop(state);
        Ok(Watch { state: Arc::clone(&self.state), news, next, wanted, from, over: false })
    }

    /// The number of the last event.
    pub fn last(&self) -> u64 {
        lock(&self.state).last
    }
}

/// Events as they happen. Ends after an error.
#[derive(Debug)]
pub struct Watch {
    state: Arc<Mutex<State>>,
    news: WatchStream<()>,
    /// Position of the event that is read next.
    next: u64,
    /// In the order of [`KINDS`].
    wanted: Vec<bool>,
    from: u64,
    over: bool,
}

impl Watch {
    /// The number of the last event before those that are watched.
    pub const fn from(&self) -> u64 {
        self.from
    }

    /// The next event that is there, wanted or not.
    fn take(&mut self) -> Found {
        let found = lock(&self.state).ring.at(self.next);
        self.next += u64::from(matches!(found, Found::Event(_)));
        found
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.watchers -= 1;
        if state.watchers == 0 {
            state.ring.clear();
        }
    }
}

impl Stream for Watch {
    type Item = Result<Arc<Event>, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.over {
            match self.take() {
                Found::Event(event) => {
                    if event.kind.as_ref().and_then(index).is_some_and(|kind| self.wanted[kind]) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Found::Dropped(lost) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(fell_behind(lost))));
                }
                Found::Nothing => match Pin::new(&mut self.news).poll_next(context) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) => self.over = true,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        Poll::Ready(None)
    }
}

fn fell_behind(lost: u64) -> Problem {
    let (events, bytes) = (ring::EVENTS, ring::BYTES);
    let message =
        format!("this watcher was behind by more than {events} events or {bytes} bytes and lost {lost}");
    Problem::new(Code::FellBehind, message).hint("watch again, list what matters, and read faster")
}

/// Of a kind in [`KINDS`]. `None`: nobody publishes it.
const fn index(kind: &Kind) -> Option<usize> {
    Some(match kind {
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
        Kind::Heartbeat(_) => return None,
    })
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
        for _ in 0..ring::EVENTS + 7 {
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

    #[tokio::test]
    async fn a_watcher_that_does_not_read_large_events_is_ended_long_before_there_are_many() {
        let bus = Bus::default();
        let mut slow = bus.watch(&[]).unwrap();
        let large = || Kind::Halted(Halted { reason: "x".repeat(1 << 20), source: String::new() });
        for _ in 0..20 {
            bus.publish(large(), "");
        }
        let problem = slow.next().await.unwrap().unwrap_err();
        assert_eq!(problem.code, Code::FellBehind);
        drop(slow);
        assert_eq!(lock(&bus.state).ring.at(0), Found::Dropped(20), "nobody is left to read them");
    }

    #[tokio::test]
    async fn a_watcher_that_waits_is_woken_and_ends_with_the_bus() {
        let bus = Bus::default();
        let mut watch = bus.watch(&[]).unwrap();
        let (waiting, ()) = tokio::join!(watch.next(), async {
            tokio::task::yield_now().await;
            bus.publish(halted(), "");
        });
        assert!(waiting.unwrap().is_ok());
        drop(bus);
        assert!(watch.next().await.is_none());
    }

    #[test]
    fn a_kind_that_there_is_not_is_refused_with_those_there_are() {
        let problem = Bus::default().watch(&["actions".to_owned()]).unwrap_err();
        assert_eq!(problem.code, Code::InvalidArgument);
        assert!(problem.hint.contains("agent_joined"));
    }
}
