//! The link to the guard: keeps the process running, and puts everything back itself when it dies.

mod process;

use std::{collections::HashMap, fs::File, path::PathBuf, sync::Arc, time::Duration};

use chaos_kitty::Problem;
use chaos_kitty_guard::{
    Undo, hooks,
    message::{Answer, Order, Reverted, Why},
    revert,
};
use futures_util::future::FutureExt;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::admission::guard_unavailable;
use crate::action::{Arm, Step};
use process::GuardProcess;

/// Requests that may wait for the guard.
const REQUESTS: usize = 1024;

/// Longest wait for the guard to say that it holds an undo.
const ARM_LIMIT: Duration = Duration::from_secs(2);

/// A guard that holds something is asked this often whether it lives.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Pings without an answer after which a guard counts as hung, and is killed.
const PINGS_MISSED: u32 = 3;

/// Pause before a guard that died is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Ends that may wait for the action they belong to.
const ENDS: usize = 16;

/// A handle to the task that talks with the guard.
pub(super) struct Link {
    requests: mpsc::Sender<Request>,
    lease: watch::Sender<Duration>,
    /// The guard's pid.
    pid: watch::Receiver<Option<u32>>,
}

enum Request {
    Arm {
        id: String,
        undos: Vec<Undo>,
        deadline: Duration,
        armed: oneshot::Sender<()>,
        ends: mpsc::Sender<Reverted>,
    },
    Rearm {
        id: String,
        undos: Vec<Undo>,
        armed: oneshot::Sender<()>,
    },
    Deadline {
        id: String,
        at: Duration,
    },
    Revert {
        id: String,
    },
    Disarm {
        id: String,
    },
    Close {
        closed: oneshot::Sender<()>,
    },
}

impl Link {
    /// Starts the guard, and starts it again whenever it dies.
    pub(super) fn start(program: PathBuf, lock: Option<Arc<File>>) -> Self {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (lease, renewed) = watch::channel(Duration::ZERO);
        let (up, pid) = watch::channel(None);
        let keeper = Keeper { program, lock, requests: received, lease: renewed, up, faults: HashMap::new() };
        tokio::spawn(keeper.run());
        Self { requests, lease, pid }
    }

    /// Whether the guard is there.
    pub(super) fn is_up(&self) -> bool {
        self.pid().is_some()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Returns once the guard is there.
    pub(super) async fn up(&self) {
        if self.pid.clone().wait_for(Option::is_some).await.is_err() {
            tracing::error!("the link to the guard is gone");
        }
    }

    pub(super) fn renew(&self, until: Duration) {
        self.lease.send_replace(until);
    }

    /// Returns once the guard holds the undos.
    pub(super) async fn arm(&self, id: &str, undos: Vec<Undo>, deadline: Duration) -> Result<Armed, Problem> {
        let (ends, received) = mpsc::channel(ENDS);
        let (armed, acknowledged) = oneshot::channel();
        let handle = Handle { id: id.to_owned(), requests: self.requests.clone() };
        handle.send(Request::Arm { id: id.to_owned(), undos, deadline, armed, ends }).await;
        let result = Armed { handle, ends: Ends { received } };
        if holds(acknowledged).await {
            return Ok(result);
        }
        result.disarm().await;
        Err(guard_unavailable())
    }

    /// Ends the guard, which puts back whatever it still holds.
    pub(super) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.requests.send(Request::Close { closed }).await.is_ok() && done.await.is_err() {
            tracing::error!("the link to the guard broke off");
        }
    }
}

/// A fault whose undos the guard holds.
pub(super) struct Armed {
    handle: Handle,
    ends: Ends,
}

/// The ends of one fault, as the guard tells them.
pub(super) struct Ends {
    received: mpsc::Receiver<Reverted>,
}

struct Handle {
    id: String,
    requests: mpsc::Sender<Request>,
}

impl Armed {
    /// For a step that arms more while it looks out for the end.
    pub(super) fn split(&mut self) -> (&dyn Arm, &mut Ends) {
        (&self.handle, &mut self.ends)
    }

    /// The fault is in force: its exact end.
    pub(super) async fn deadline(&self, at: Duration) {
        self.handle.send(Request::Deadline { id: self.handle.id.clone(), at }).await;
    }

    /// Nothing more of it is injected: puts it back for good, if that is not done or under way already.
    pub(super) async fn revert(&mut self) -> Reverted {
        self.handle.send(Request::Revert { id: self.handle.id.clone() }).await;
        loop {
            let reverted = self.ends.next().await;
            if reverted.settled {
                return reverted;
            }
        }
    }

    /// The guard forgets it.
    pub(super) async fn disarm(self) {
        self.handle.send(Request::Disarm { id: self.handle.id.clone() }).await;
    }
}

impl Ends {
    /// The next end.
    pub(super) async fn next(&mut self) -> Reverted {
        match self.received.recv().await {
            Some(reverted) => reverted,
            // Only with the whole runtime: the link lives for as long as anything is armed.
            None => std::future::pending().await,
        }
    }
}

impl Handle {
    async fn send(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::error!(action = self.id, "the link to the guard is gone");
        }
    }
}

impl Arm for Handle {
    fn rearm(&self, undos: Vec<Undo>) -> Step<'_, ()> {
        async {
            let (armed, acknowledged) = oneshot::channel();
            self.send(Request::Rearm { id: self.id.clone(), undos, armed }).await;
            if holds(acknowledged).await { Ok(()) } else { Err(guard_unavailable()) }
        }
        .boxed()
    }
}

async fn holds(acknowledged: oneshot::Receiver<()>) -> bool {
    matches!(timeout(ARM_LIMIT, acknowledged).await, Ok(Ok(())))
}

/// The task behind the link.
struct Keeper {
    program: PathBuf,
    lock: Option<Arc<File>>,
    requests: mpsc::Receiver<Request>,
    lease: watch::Receiver<Duration>,
    /// The guard's pid.
    up: watch::Sender<Option<u32>>,
    faults: HashMap<String, Fault>,
}

/// What was armed and not disarmed.
struct Fault {
    undos: Vec<Undo>,
    armed: Option<oneshot::Sender<()>>,
    ends: mpsc::Sender<Reverted>,
    /// Nothing more of it is injected.
    settled: bool,
    /// Its guard died: we put it back ourselves.
    orphan: bool,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let closed = match GuardProcess::start(&self.program, self.lock.as_deref()) {
                Ok(guard) => self.serve(guard).await,
                Err(error) => {
                    tracing::error!(%error, program = %self.program.display(), "the guard does not start");
                    None
                }
            };
            self.adopt();
            let closed = match closed {
                None => self.pause().await,
                closed => closed,
            };
            if let Some(closed) = closed {
                if closed.send(()).is_err() {
                    tracing::debug!("the executor was dropped");
                }
                return;
            }
        }
    }

    /// Talks with a guard until it dies. `Some`: until the link was closed.
    async fn serve(&mut self, mut guard: GuardProcess) -> Option<oneshot::Sender<()>> {
        self.up.send_replace(Some(guard.pid()));
        tracing::info!(pid = guard.pid(), "the guard is up");
        self.lease.mark_changed();
        let mut missed = 0;
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = loop {
            let order = tokio::select! {
                biased;
                answer = guard.answer() => match answer {
                    Ok(Some(answer)) => { missed = 0; self.take(answer); None }
                    Ok(None) => break None,
                    Err(error) => { tracing::error!(%error, "the guard is not understood"); break None }
                },
                Ok(()) = self.lease.changed() => Some(Order::Lease { until: *self.lease.borrow_and_update() }),
                request = self.requests.recv() => match request.unwrap_or_else(Request::dropped) {
                    Request::Close { closed } => break Some(closed),
                    request => self.order(request),
                },
                _ = ticks.tick(), if !self.faults.is_empty() => {
                    missed += 1;
                    if missed > PINGS_MISSED { break None }
                    Some(Order::Ping)
                }
            };
            let sent = match order {
                Some(order) => guard.send(&order).await,
                None => Ok(()),
            };
            if let Err(error) = sent {
                tracing::error!(%error, "the guard does not listen");
                break None;
            }
        };
        self.up.send_replace(None);
        match &closed {
            Some(_) => guard.dismiss(!self.faults.is_empty()).await,
            None => guard.kill().await,
        }
        closed
    }

    /// What a request means to the guard, if anything.
    fn order(&mut self, request: Request) -> Option<Order> {
        match request {
            Request::Arm { id, undos, deadline, armed, ends } => {
                let fault =
                    Fault { undos: undos.clone(), armed: Some(armed), ends, settled: false, orphan: false };
                self.faults.insert(id.clone(), fault);
                Some(Order::Arm { id, undos, deadline: Some(deadline) })
            }
            Request::Rearm { id, undos, armed } => {
                let fault = self.faults.get_mut(&id)?;
                fault.undos.clone_from(&undos);
                if fault.orphan {
                    return None;
                }
                fault.armed = Some(armed);
                Some(Order::Arm { id, undos, deadline: None })
            }
            Request::Deadline { id, at } => {
                self.faults.get_mut(&id)?.settle(&id);
                Some(Order::Deadline { id, at })
            }
            Request::Revert { id } => {
                self.faults.get_mut(&id)?.settle(&id);
                Some(Order::Revert { id })
            }
            Request::Disarm { id } => {
                self.faults.remove(&id);
                Some(Order::Disarm { id })
            }
            Request::Close { .. } => None,
        }
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Ready | Answer::Alive => {}
            Answer::Armed { id } => {
                let armed = self.faults.get_mut(&id).and_then(|fault| fault.armed.take());
                if armed.is_some_and(|armed| armed.send(()).is_err()) {
                    tracing::warn!(action = id, "the guard armed it too late");
                }
            }
            Answer::Reverted(reverted) => {
                if let Some(fault) = self.faults.get(&reverted.id) {
                    Fault::ended(&fault.ends, reverted);
                }
            }
        }
    }

    /// The guard died: puts back what it held, at once.
    fn adopt(&mut self) {
        for (id, fault) in self.faults.iter_mut().filter(|(_, fault)| !fault.orphan) {
            fault.orphan = true;
            fault.armed = None;
            if !hooks::without("adoption") {
                fault.put_back(id.clone());
            }
        }
    }

    /// Waits before the next try, and meanwhile refuses to arm. `Some`: the link was closed.
    async fn pause(&mut self) -> Option<oneshot::Sender<()>> {
        let pause = sleep(RESTART_PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return None,
                request = self.requests.recv() => match request.unwrap_or_else(Request::dropped) {
                    Request::Close { closed } => return Some(closed),
                    // Dropping `armed` refuses it.
                    Request::Arm { .. } => {}
                    request => drop(self.order(request)),
                },
            }
        }
    }
}

impl Request {
    /// The executor was dropped.
    fn dropped() -> Self {
        Self::Close { closed: oneshot::channel().0 }
    }
}

impl Fault {
    /// Tells the action that it was put back.
    fn ended(ends: &mpsc::Sender<Reverted>, reverted: Reverted) {
        if let Err(error) = ends.try_send(reverted) {
            tracing::warn!(%error, "an action does not hear of its end");
        }
    }

    /// Nothing more of it is injected. What a guard put back before its death, or we in its place, may have come into
    /// force since: once more, for good.
    fn settle(&mut self, id: &str) {
        let newly = !std::mem::replace(&mut self.settled, true);
        if newly && self.orphan {
            self.put_back(id.to_owned());
        }
    }

    /// Puts it back in the guard's place, beside everything else.
    fn put_back(&self, id: String) {
        let (undos, ends) = (self.undos.clone(), self.ends.clone());
        let settled = self.settled;
        task::spawn_blocking(move || Self::ended(&ends, revert::revert(id, Why::GuardGone, &undos, settled)));
    }
}
