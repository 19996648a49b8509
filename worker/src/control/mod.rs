//! The control thread: one stream to the server after the other, on a runtime of its own, so that nothing
//! that the application does or suffers silences it.

mod session;

use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
    sync::{Arc, mpsc as blocking},
    thread::{self, JoinHandle},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    backoff::Backoff,
    client::{self, TlsFiles},
    endpoint::Endpoint,
    v1::{ActionReport, Hello, UnleashRequest, end_reason::Name as EndReason},
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time::sleep,
};
use tracing::{Dispatch, Instrument};

use self::session::Ended;
use crate::{
    Points,
    action::{Application, gc::Collector},
    authority::Authority,
    calls::{self, Calls, Reply},
    faults::Faults,
    hold::LeaseCell,
};

/// Reports of actions that may wait for the control thread.
const REPORTS: usize = 256;
/// Longest wait for the faults to end when the worker leaves.
const REVERT: Duration = Duration::from_secs(2);

/// How a worker stands with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no server at the moment, and goes on trying.
    Connecting,
    /// It is a target of the fleet.
    Attached {
        /// Sequential from 1, unique for the life of the server's store.
        connection_id: u32,
    },
    /// The server will never have it as it is. It does not try again.
    Refused(Problem),
}

/// What the application tells the control thread.
#[derive(Debug)]
pub(crate) enum Command {
    Invoke { request: Box<UnleashRequest>, reply: Reply, sent: oneshot::Sender<Result<(), Problem>> },
    Leave,
}

/// Everything that a control thread begins with.
pub(crate) struct Setup {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: TlsFiles,
    pub(crate) hello: Hello,
    pub(crate) name: String,
    pub(crate) executor: Option<runtime::Handle>,
    pub(crate) collector: Option<Collector>,
    pub(crate) points: Points,
}

/// Starts the thread. `finished` is dropped when it has ended.
pub(crate) fn spawn(
    setup: Setup,
    commands: mpsc::Receiver<Command>,
    state: watch::Sender<State>,
    finished: blocking::Sender<()>,
) -> Result<JoinHandle<()>, Problem> {
    let cannot = |what: &str, error| {
        Problem::new(Code::TargetLimit, format!("{what}: {error}")).hint("raise the process's limits")
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot("making the control thread's runtime", error))?;
    let log = tracing::dispatcher::get_default(Dispatch::clone);
    let body = move || {
        tracing::dispatcher::with_default(&log.clone(), || {
            let span = tracing::info_span!("kitty", worker = %setup.name);
            let control = Control::new(setup, runtime.handle().clone(), commands, state, log);
            runtime.block_on(control.run().instrument(span));
        });
        drop(finished);
    };
    thread::Builder::new()
        .name("kitty-control".to_owned())
        .spawn(body)
        .map_err(|error| cannot("starting the control thread", error))
}

struct Control {
    endpoint: Endpoint,
    tls: TlsFiles,
    hello: Hello,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<ActionReport>,
    state: watch::Sender<State>,
    lease: Arc<LeaseCell>,
    authority: Authority,
    faults: Faults,
    calls: Calls,
    backoff: Backoff,
    /// What the log has said since it was attached last, so that each trouble is told once: which one a peer gives that
    /// hangs up is a matter of the moment.
    told: Vec<Code>,
}

/// The worker was dropped.
struct Leave;

impl Control {
    fn new(
        setup: Setup,
        timers: runtime::Handle,
        commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
        log: Dispatch,
    ) -> Self {
        let lease = Arc::new(LeaseCell::default());
        let (sender, reports) = mpsc::channel(REPORTS);
        let application = Application {
            name: setup.name,
            executor: setup.executor,
            collector: setup.collector,
            points: setup.points,
            timers,
        };
        Self {
            endpoint: setup.endpoint,
            tls: setup.tls,
            hello: setup.hello,
            commands,
            reports,
            state,
            faults: Faults::new(application, lease.clone(), sender, log),
            lease,
            authority: Authority::default(),
            calls: Calls::default(),
            backoff: Backoff::default(),
            told: Vec::new(),
        }
    }

    async fn run(mut self) {
        while let Ok(ended) = self.attach().await {
            self.calls.lost();
            match ended {
                Ended::Refused(problem) => {
                    tracing::error!(%problem, "the server will not have this worker; it does not try again");
                    self.state.send_replace(State::Refused(problem));
                    let Err(Leave) = self.tend(pending::<Infallible>()).await;
                    break;
                }
                Ended::Lost(problem) => self.detached(&problem),
            }
            let wait = self.backoff.next(&mut rand::rng());
            if self.tend(sleep(wait)).await.is_err() {
                break;
            }
        }
        self.calls.lost();
        self.end_all().await;
    }

    /// One attempt, and the stream that comes of it.
    async fn attach(&mut self) -> Result<Ended, Leave> {
        let (endpoint, tls) = (self.endpoint.clone(), self.tls.clone());
        match self.tend(async move { client::dial(&endpoint, &tls).await }).await? {
            Ok(client) => self.session(client).await,
            Err(problem) => Ok(Ended::Lost(problem)),
        }
    }

    /// Waits for something while no stream stands: reports are kept, calls are turned down.
    async fn tend<F: Future>(&mut self, future: F) -> Result<F::Output, Leave> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return Ok(output),
                Some(report) = self.reports.recv() => self.faults.reported(report),
                command = self.commands.recv() => match command {
                    Some(Command::Invoke { sent, .. }) => drop(sent.send(Err(calls::lost()))),
                    Some(Command::Leave) | None => return Err(Leave),
                },
            }
        }
    }

    fn detached(&mut self, problem: &Problem) {
        self.state.send_replace(State::Connecting);
        if !self.told.contains(&problem.code) {
            self.told.push(problem.code);
            tracing::warn!(endpoint = %self.endpoint, %problem, "chaos kitty is away; trying again");
        }
    }

    /// Ends every fault and waits, not for long, until they have said so.
    async fn end_all(&mut self) {
        self.faults.stop_all_but(&[], EndReason::Shutdown);
        let ended = async {
            while !self.faults.is_empty() {
                let Some(report) = self.reports.recv().await else { return };
                self.faults.reported(report);
            }
        };
        if tokio::time::timeout(REVERT, ended).await.is_err() {
            tracing::warn!("a fault is slow to end; it ends by its deadline or lease");
        }
    }
}
