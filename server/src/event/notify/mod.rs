//! Notifications: events that a person should know of, to the log and to webhooks. Nobody waits for them: each
//! webhook has a queue and a task of its own, and what can not be delivered is counted.

mod message;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use chaos_kitty::{
    Problem,
    v1::{Event, event::level::Name as Level},
};
use futures_util::StreamExt;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use self::{message::Notification, webhook::Hook};
use super::Bus;
use crate::task::{self, OnPanic};

pub use self::{
    message::Format,
    webhook::{Patience, Webhook},
};

/// Notifications that wait for one webhook, and their bytes.
const QUEUE: usize = 256;
const QUEUE_BYTES: usize = 4 << 20;
/// Kinds of events that may be meant for people.
const KINDS: [&str; 6] = ["action", "halted", "resumed", "experiment", "admin_state", "suite"];

/// Runs as long as it lives.
#[derive(Debug)]
pub struct Notifier {
    lost: Arc<AtomicU64>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// A webhook as the fan-out sees it.
struct Queue {
    levels: Vec<Level>,
    sender: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

/// A notification that waits, and its share of the room for them.
struct Waiting {
    notification: Arc<Notification>,
    _room: OwnedSemaphorePermit,
}

impl Queue {
    /// False: it is full.
    fn push(&self, notification: Arc<Notification>, bytes: u32) -> bool {
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        room.is_ok_and(|room| self.sender.try_send(Waiting { notification, _room: room }).is_ok())
    }
}

impl Notifier {
    /// Follows the bus from now on. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::Usage`]: a webhook that can not be used.
    pub fn start(bus: Arc<Bus>, webhooks: Vec<Webhook>) -> Result<Self, Problem> {
        let lost = Arc::<AtomicU64>::default();
        let (mut queues, mut tasks) = (Vec::new(), Vec::new());
        for webhook in webhooks {
            let (sender, inbox) = mpsc::channel(QUEUE);
            let room = Arc::new(Semaphore::new(QUEUE_BYTES));
            queues.push(Queue { levels: webhook.levels.clone(), sender, room });
            tasks.push(spawn(Hook::new(webhook, Arc::clone(&lost))?.deliver(inbox)));
        }
        tasks.push(spawn(follow(bus, queues, Arc::clone(&lost))));
        Ok(Self { lost, _tasks: tasks })
    }

    /// Notifications that some webhook never got, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(task::spawn(OnPanic::End, task))
}

/// Watches, and watches again where it fell behind. How many of the events that it missed were meant for people is
/// not known: it counts as one.
async fn follow(bus: Arc<Bus>, queues: Vec<Queue>, lost: Arc<AtomicU64>) {
    let kinds = KINDS.map(str::to_owned);
    while let Ok(mut events) = bus.watch(&kinds) {
        while let Some(event) = events.next().await {
            match event {
                // What can not be told loses itself, not the next one.
                Ok(event) if task::guarded(|| tell(&event, &queues, &lost)).is_ok() => {}
                Ok(_) => drop(lost.fetch_add(1, Ordering::Relaxed)),
                Err(problem) => {
                    lost.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%problem, "notifications were lost");
                }
            }
        }
    }
}

fn tell(event: &Event, queues: &[Queue], lost: &AtomicU64) {
    let Some(notification) = Notification::of(event) else { return };
    notification.log();
    let bytes = u32::try_from(event.encoded_len()).unwrap_or(u32::MAX);
    let notification = Arc::new(notification);
    for queue in queues.iter().filter(|queue| queue.levels.contains(&notification.level)) {
        if !queue.push(Arc::clone(&notification), bytes) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
