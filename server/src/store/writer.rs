//! The one thread that writes: whatever waits when a transaction ends goes into the next one, so that
//! many callers share one fsync.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use chaos_kitty::{Code, Problem};
use rusqlite::Connection;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    error::problem,
    sql::{self, Write},
};
use crate::task::{self, lock};

/// Writes in one transaction at the most.
const BATCH: usize = 512;
/// Places for writes that wait. A write takes one for every [`PLACE`] bytes that it begins, and never more than all.
const QUEUE: u32 = 4096;
const PLACE: usize = 4 << 10;
/// How often a store that could not be written is tried again when nobody asks for it.
const PROBE: Duration = Duration::from_secs(1);
/// How long a caller waits for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this many actions, old ones are dropped.
const PRUNE_EVERY: u64 = 10_000;

/// What became of writes, seen from outside of the thread.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Set from the first write that failed to the next one that did not.
    problem: Mutex<Option<String>>,
    /// What could not be written at the start, since the disk was full, and goes before the next write.
    owed: Mutex<Vec<Write>>,
    lost: AtomicU64,
}

impl Health {
    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn lose(&self, writes: u64) {
        self.lost.fetch_add(writes, Ordering::Relaxed);
    }

    /// Has this written before anything else, once that is possible.
    pub(super) fn owe(&self, write: Write) {
        lock(&self.owed).push(write);
    }

    /// Writes all of it in one transaction, or nothing.
    pub(super) fn commit(&self, connection: &Connection, writes: &[&Write]) -> Result<(), Problem> {
        let mut owed = lock(&self.owed);
        let all: Vec<&Write> = owed.iter().chain(writes.iter().copied()).collect();
        let outcome = transaction(connection, &all).map_err(|error| problem(&error));
        if outcome.is_ok() {
            owed.clear();
        }
        drop(owed);
        self.set(outcome.as_ref().err());
        outcome
    }

    pub(super) fn set(&self, present: Option<&Problem>) {
        let mut slot = lock(&self.problem);
        match (present, slot.as_ref()) {
            (Some(problem), None) => tracing::error!(%problem, "the store can not be written"),
            (None, Some(_)) => tracing::info!("the store can be written again"),
            _ => {}
        }
        *slot = present.map(|problem| problem.message.clone());
    }
}

struct Job {
    write: Write,
    /// Absent: nobody waits, a failure is counted.
    done: Option<oneshot::Sender<Result<(), Problem>>>,
    _place: OwnedSemaphorePermit,
}

/// The way to the thread. Dropping it ends the thread once everything that waits is written.
pub(super) struct Writer {
    places: Arc<Semaphore>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, health: Arc<Health>) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || task::needed(|| Thread { connection, health, actions: 0 }.run(&inbox)))?;
        Ok(Self { places: Arc::new(Semaphore::new(QUEUE as usize)), jobs: Some(jobs), thread: Some(thread) })
    }

    /// Waits for a place, and then until it is on the disk.
    pub(super) async fn write(&self, write: Write) -> Result<(), Problem> {
        timeout(PATIENCE, self.write_through(write)).await.unwrap_or_else(|_| {
            let what = format!("the store has not answered for {} s", PATIENCE.as_secs());
            Err(Problem::new(Code::StoreUnavailable, what).hint("look at the store's disk"))
        })
    }

    async fn write_through(&self, write: Write) -> Result<(), Problem> {
        let gone = || Problem::internal("the store's thread has ended");
        let place = self.places.clone().acquire_many_owned(places(&write)).await.map_err(|_| gone())?;
        let (done, answer) = oneshot::channel();
        self.send(Job { write, done: Some(done), _place: place });
        answer.await.map_err(|_| gone())?
    }

    /// Queues it; false when the queue is full.
    pub(super) fn queue(&self, write: Write) -> bool {
        let Ok(place) = self.places.clone().try_acquire_many_owned(places(&write)) else { return false };
        self.send(Job { write, done: None, _place: place });
        true
    }

    fn send(&self, job: Job) {
        // A thread that is gone drops the job, and with it the caller's answer.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn places(write: &Write) -> u32 {
    u32::try_from(write.bytes() / PLACE + 1).unwrap_or(QUEUE).min(QUEUE)
}

struct Thread {
    connection: Connection,
    health: Arc<Health>,
    actions: u64,
}

impl Thread {
    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        loop {
            let first = if self.health.problem().is_none() {
                inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                inbox.recv_timeout(PROBE)
            };
            match first {
                Ok(first) => {
                    self.settle(std::iter::once(first).chain(inbox.try_iter()).take(BATCH).collect())
                }
                Err(mpsc::RecvTimeoutError::Timeout) => drop(self.commit(&[&Write::Probe])),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn settle(&mut self, batch: Vec<Job>) {
        let writes: Vec<&Write> = batch.iter().map(|job| &job.write).collect();
        let together = self.commit(&writes);
        self.actions += batch.len() as u64;
        for job in batch {
            // One bad write must not take the others with it.
            let outcome = together.clone().or_else(|_| self.commit(&[&job.write]));
            match (job.done, &outcome) {
                (Some(done), _) => drop(done.send(outcome)),
                (None, Err(_)) => self.health.lose(1),
                (None, Ok(())) => {}
            }
        }
        if self.actions >= PRUNE_EVERY {
            self.actions = 0;
            drop(self.commit(&[&Write::Prune]));
        }
    }

    fn commit(&self, writes: &[&Write]) -> Result<(), Problem> {
        self.health.commit(&self.connection, writes)
    }
}

fn transaction(connection: &Connection, writes: &[&Write]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    for write in writes {
        sql::apply(&transaction, write)?;
    }
    transaction.commit()
}
