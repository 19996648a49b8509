//! One stream to the server, from its Hello to its end.

use std::time::Duration;

use chaos_kitty::{
    Code, Later, Problem, bounds,
    client::{CONNECT_TIMEOUT, dial},
    lease::{Lease, boot_time},
    limits, telemetry,
    v1::{
        AgentMessage, Goodbye, LeaseRenewal, Pong, Refusal, RunStep, ServerMessage, StartAction, StepResult,
        Welcome, agent_message::Kind as Up, server_message::Kind as Down,
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tonic::Streaming;

use super::{
    Uplink,
    outbound::{Outbound, own, stalled},
    relay, roster,
};
use crate::{executor::step, host::heap, platform::Roster, state::Seen};

/// A server that leaves a message unread for this long is left.
const STALLED: Duration = Duration::from_secs(10);

/// Answers to steps that may wait to be sent.
pub(super) const STEPS: usize = 128;

/// When the agent stops: how long it waits for the server to take in its last reports.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the server's side of a stream ended it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) problem: Problem,
    /// Coming again soon is pointless.
    pub(super) permanent: bool,
    /// How long the stream had been welcome. `None`: it never was.
    pub(super) welcome_for: Option<Duration>,
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self { problem, permanent: false, welcome_for: None }
    }
}

/// A stream that was welcomed.
pub(super) struct Session<'a> {
    pub(super) uplink: &'a Uplink,
    pub(super) out: Outbound,
    pub(super) lease: Lease,
    pub(super) seen: &'a watch::Sender<Seen>,
    /// The roster as the server knows it, and the messages on their way there.
    pub(super) roster: Roster,
    pub(super) chunks: roster::Messages,
    /// Targets were told since memory was last given back.
    pub(super) told: bool,
    /// The number of the last report sent.
    pub(super) reported: u64,
    pub(super) relayed: relay::Receiver<AgentMessage>,
    /// Answers to this stream's steps.
    pub(super) steps: (mpsc::Sender<StepResult>, mpsc::Receiver<StepResult>),
    /// When the server last said something, and when it last made room for something bulky.
    pub(super) heard: Instant,
    pub(super) moved: Instant,
}

/// Attaches and stays attached, as long as the server and `leave` let it. `Ok`: the agent leaves.
pub(super) async fn run(uplink: &Uplink, lease: &mut Option<Lease>) -> Result<(), Ended> {
    let mut rosters = uplink.rosters.clone();
    let roster = rosters.borrow_and_update().clone();
    let (hello, reported) = {
        let seen = uplink.seen.borrow();
        uplink.presence.hello(&seen, uplink.executor.held(), &uplink.reports, &roster)
    };
    let (out, outgoing) = Outbound::new();
    let hello_sent = boot_time();
    out.answer(Up::Hello(hello))?;
    let attach = async {
        let mut client = dial(&uplink.endpoint, &uplink.tls).await?;
        let mut inbound = client.attach(outgoing).await?.into_inner();
        let first = inbound.message().await?;
        Ok::<_, Problem>((inbound, first))
    };
    let attached = tokio::select! {
        () = uplink.leave.cancelled() => return Ok(()),
        attached = timeout(CONNECT_TIMEOUT + limits::HELLO_TIMEOUT, attach) => attached,
    };
    let (mut inbound, first) = attached.map_err(|_| {
        let what = format!("the server at {} did not answer the Hello", uplink.endpoint);
        Problem::new(Code::ConnectionLost, what)
    })??;
    let welcome = welcome(first)?;
    let length = length(&welcome);
    let renewed = lease
        .as_ref()
        .map_or_else(|| Lease::new(length, hello_sent), |earlier| earlier.attached_again(length, hello_sent));
    let now = Instant::now();
    let mut session = Session {
        uplink,
        out,
        lease: renewed,
        seen: &uplink.seen,
        chunks: roster::full(&roster, &uplink.offer),
        roster,
        told: false,
        reported,
        relayed: uplink.relay.opened(),
        steps: mpsc::channel(STEPS),
        heard: now,
        moved: now,
    };
    let outcome = match session.welcomed(&welcome) {
        Ok(()) => session.serve(&mut inbound, rosters).await,
        Err(problem) => Err(problem.into()),
    };
    *lease = Some(session.lease);
    uplink.relay.closed();
    if outcome.is_ok() {
        goodbye(session.out, inbound).await;
    }
    outcome.map_err(|ended| Ended { welcome_for: Some(now.elapsed()), ..ended })
}

/// Of the lease that a server gives.
pub(super) fn length(welcome: &Welcome) -> Duration {
    welcome.lease.and_then(|lease| lease.try_into().ok()).unwrap_or(limits::LEASE)
}

pub(super) fn welcome(first: Option<ServerMessage>) -> Result<Welcome, Ended> {
    first.as_ref().map_or(Ok(()), bounds::check)?;
    match first.and_then(|message| message.kind) {
        Some(Down::Welcome(welcome)) => Ok(welcome),
        Some(Down::Refusal(refusal)) => Err(refused(refusal)),
        None => {
            Err(Problem::new(Code::ConnectionLost, "the server closed the stream without a Welcome").into())
        }
        Some(_) => {
            let what = "the server's first message is neither a Welcome nor a Refusal";
            Err(Problem::new(Code::ProtocolViolation, what).into())
        }
    }
}

fn refused(refusal: Refusal) -> Ended {
    let problem = refusal.problem.map_or_else(
        || Problem::new(Code::ProtocolViolation, "the server refused this agent and did not say why"),
        Problem::from,
    );
    Ended { problem, permanent: refusal.permanent, welcome_for: None }
}

impl Session<'_> {
    /// Both sides compare what is held.
    pub(super) fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Problem> {
        let mut seen = self.seen.borrow().clone();
        seen.welcome(&welcome.server_id, welcome.epoch)?;
        self.remember(|kept| *kept = seen);
        self.uplink.executor.renew(self.lease.until());
        self.uplink.executor.keep_only(&welcome.known);
        if welcome.latched {
            self.halt();
        }
        let (server, epoch) = (&welcome.server_id, welcome.epoch);
        let connection = welcome.connection_id;
        tracing::info!(server, epoch, connection, address = %self.uplink.endpoint, "attached to the server");
        Ok(())
    }

    /// Until the server ends it, falls silent or stops reading, or the agent leaves.
    async fn serve(
        &mut self,
        inbound: &mut Streaming<ServerMessage>,
        mut rosters: watch::Receiver<Roster>,
    ) -> Result<(), Ended> {
        let mut waiting: Option<AgentMessage> = None;
        let mut leaving: Option<Instant> = None;
        loop {
            if waiting.is_none() {
                waiting = self.next_own();
            }
            if leaving.is_some_and(|deadline| self.uplink.reports.is_empty() || Instant::now() >= deadline) {
                return Ok(());
            }
            let silent = self.heard.later(self.lease.length().saturating_mul(2));
            tokio::select! {
                biased;
                message = inbound.message() => {
                    let closed = || Problem::new(Code::ConnectionLost, "the server closed the stream");
                    let message = message.map_err(Problem::from)?.ok_or_else(closed)?;
                    self.heard = Instant::now();
                    self.take(message)?;
                }
                room = self.out.room(), if waiting.is_some() => {
                    room?;
                    self.moved = Instant::now();
                    waiting.take().map_or(Ok(()), |message| self.out.send(message))?;
                }
                () = sleep_until(silent) => return Err(silence().into()),
                () = sleep_until(self.moved + STALLED), if waiting.is_some() => return Err(stalled().into()),
                () = sleep_until(leaving.unwrap_or(silent)), if leaving.is_some() => {}
                () = self.uplink.leave.cancelled(), if leaving.is_none() => {
                    leaving = Some(Instant::now() + LAST_WORDS);
                }
                Some(message) = self.relayed.recv(), if waiting.is_none() => {
                    self.moved = Instant::now();
                    waiting = Some(message);
                }
                Some(result) = self.steps.1.recv(), if waiting.is_none() => {
                    self.moved = Instant::now();
                    waiting = Some(own(Up::Step(result)));
                }
                () = self.uplink.reports.news(), if waiting.is_none() => self.moved = Instant::now(),
                Ok(()) = rosters.changed(), if waiting.is_none() => {
                    let roster = rosters.borrow_and_update().clone();
                    self.chunks = roster::diff(&self.roster, &roster, &self.uplink.offer);
                    self.roster = roster;
                    self.moved = Instant::now();
                }
            }
        }
    }

    /// What this agent itself has to say next: its targets, then what became of actions.
    fn next_own(&mut self) -> Option<AgentMessage> {
        if let Some(chunk) = self.chunks.next() {
            let (upserted, removed) = (chunk.upserted.len(), chunk.removed.len());
            tracing::debug!(upserted, removed, "targets told");
            self.told = true;
            return Some(own(Up::Targets(chunk)));
        }
        let batch = self.uplink.reports.batch_after(self.reported)?;
        self.reported = batch.reports.last().map_or(self.reported, |report| report.sequence);
        Some(own(Up::Reports(batch)))
    }

    pub(super) fn take(&mut self, message: ServerMessage) -> Result<(), Ended> {
        if !message.node.is_empty() {
            self.uplink.relay.down(message);
            return Ok(());
        }
        if let Err(problem) = bounds::check(&message) {
            return self.not_within_bounds(message, problem);
        }
        let executor = &self.uplink.executor;
        match message.kind {
            Some(Down::Renewal(renewal)) => self.renewed(&renewal)?,
            Some(Down::Ping(ping)) => self.out.answer(Up::Pong(Pong { number: ping.number }))?,
            Some(Down::Start(order)) => self.start(order),
            Some(Down::Step(order)) => self.step(order),
            Some(Down::Stop(stop)) if self.obeys("stop", stop.epoch) => executor.stop(&stop.action_id),
            Some(Down::RevertAll(order)) if self.obeys("revert all", order.epoch) => self.halt(),
            Some(Down::Unlatch(order)) if self.obeys("unlatch", order.epoch) => {
                executor.unlatch();
                self.remember(|seen| seen.latched = false);
                tracing::info!("actions are admitted again");
            }
            Some(Down::Script(script)) => self.uplink.executor.keep_script(script)?,
            Some(Down::Taken(taken)) => self.uplink.reports.taken(taken.sequence),
            Some(Down::Refusal(refusal)) => return Err(refused(refusal)),
            Some(Down::Welcome(_)) => {
                return Err(Problem::new(Code::ProtocolViolation, "a second Welcome on one stream").into());
            }
            // Stale orders; answers to calls, which agents do not make; kinds that only later versions know.
            Some(Down::Stop(_) | Down::RevertAll(_) | Down::Unlatch(_) | Down::Invoked(_)) | None => {}
        }
        Ok(())
    }

    /// What orders too much is refused; anything else of the kind is no word of a server to be obeyed.
    fn not_within_bounds(&self, message: ServerMessage, problem: Problem) -> Result<(), Ended> {
        tracing::warn!(%problem, "a message of the server is refused");
        match message.kind {
            Some(Down::Start(order)) => self.uplink.executor.refuse(&order, problem),
            Some(Down::Step(order)) => drop(self.steps.0.try_send(step::failed(&order.step_id, problem))),
            _ => return Err(problem.into()),
        }
        Ok(())
    }

    /// The answer leaves first; the lease then counts from a moment before it left.
    fn renewed(&mut self, renewal: &LeaseRenewal) -> Result<(), Problem> {
        if !self.obeys("renewal", renewal.epoch) {
            return Ok(());
        }
        let now = boot_time();
        let answer = LeaseRenewal { number: renewal.number, ..LeaseRenewal::default() };
        self.out.answer(Up::Renewal(answer))?;
        self.lease.renewed(renewal, now);
        self.uplink.executor.renew(self.lease.until());
        // Not as soon as they are told: the transport has yet to write them.
        if std::mem::take(&mut self.told) {
            heap::give_back();
            tracing::debug!("memory given back");
        }
        Ok(())
    }

    fn start(&mut self, order: StartAction) {
        let span = tracing::info_span!("order", action = order.action_id, target = order.target_id);
        telemetry::continue_from(&span, &order.traceparent);
        let _entered = span.enter();
        let start_within = order.start_within.and_then(|limit| limit.try_into().ok()).unwrap_or_default();
        let obeyed = self.seen.borrow().obey(order.epoch);
        match obeyed.and_then(|()| self.lease.ordered(order.answered, start_within, boot_time())) {
            Ok(()) => {
                self.uplink.executor.renew(self.lease.until());
                self.uplink.executor.start(order);
            }
            Err(problem) => {
                tracing::warn!(action = order.action_id, %problem, "an order is refused");
                self.uplink.executor.refuse(&order, problem);
            }
        }
    }

    /// A step may come late no more than an order to start something.
    fn step(&mut self, order: RunStep) {
        let start_within = order.start_within.and_then(|limit| limit.try_into().ok()).unwrap_or_default();
        let obeyed = self.seen.borrow().obey(order.epoch);
        match obeyed.and_then(|()| self.lease.ordered(order.answered, start_within, boot_time())) {
            Ok(()) => {
                self.uplink.executor.renew(self.lease.until());
                self.uplink.executor.step(order, self.steps.0.clone());
            }
            Err(problem) => {
                tracing::warn!(step = order.step_id, %problem, "a step is refused");
                // Where there is no room the server does not hear, as if the step had been lost.
                let _ = self.steps.0.try_send(step::failed(&order.step_id, problem));
            }
        }
    }

    /// Everything is reverted now, and nothing started until Unlatch; also by a later process of this agent.
    fn halt(&self) {
        tracing::warn!("halted: everything is reverted, nothing is admitted");
        self.uplink.executor.latch();
        self.uplink.executor.revert_all();
        self.remember(|seen| seen.latched = true);
    }

    fn obeys(&self, what: &str, epoch: u64) -> bool {
        let obeyed = self.seen.borrow().obey(epoch);
        if let Err(problem) = &obeyed {
            tracing::warn!(what, %problem, "not obeyed");
        }
        obeyed.is_ok()
    }

    fn remember(&self, change: impl FnOnce(&mut Seen)) {
        self.seen.send_if_modified(|seen| {
            let before = seen.clone();
            change(seen);
            *seen != before
        });
    }
}

/// The last words, and time for the transport to carry them.
async fn goodbye(out: Outbound, mut inbound: Streaming<ServerMessage>) {
    let farewell = Goodbye { reason: "the agent was shut down".to_owned(), process_ended: false };
    let said = out.answer(Up::Goodbye(farewell));
    drop(out);
    let until_closed = async { while let Ok(Some(_)) = inbound.message().await {} };
    if said.is_err() || timeout(LAST_WORDS, until_closed).await.is_err() {
        tracing::debug!("the server did not take the Goodbye");
    }
}

fn silence() -> Problem {
    Problem::new(Code::ConnectionLost, "the server has sent nothing for twice the lease")
}
