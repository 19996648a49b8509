//! One stream, from its Hello to its end.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem, bounds, client,
    lease::boot_time,
    limits,
    v1::{
        ActionReports, AgentMessage, Goodbye, LeaseRenewal, Pong, Refusal, ServerMessage, StepResult,
        Welcome, agent_message::Kind as Up, end_reason::Name as EndReason, server_message::Kind as Down,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Command, Control, Leave, State};

/// Messages that may wait for the network. More: the server is not reading, and the stream is given up.
const OUTBOUND: usize = 256;
/// A stream on which nothing comes for so long is dead: even an idle server renews more often.
const SILENCE: Duration = Duration::from_secs(3 * limits::IDLE_RENEWAL.as_secs());
/// Longest wait for the last messages of a stream to leave.
const FLUSH: Duration = Duration::from_millis(500);

/// Why a stream is over.
pub(super) enum Ended {
    /// Trying again may help.
    Lost(Problem),
    /// It does not.
    Refused(Problem),
}

type Outbound = mpsc::Sender<AgentMessage>;

impl Control {
    /// Attaches over a connection, and stays until it ends.
    pub(super) async fn session(&mut self, mut client: client::Client) -> Result<Ended, Leave> {
        let (out, queue) = mpsc::channel(OUTBOUND);
        let hello_sent = boot_time();
        let hello = self.present_hello();
        if let Err(ended) = send(&out, Up::Hello(hello)) {
            return Ok(ended);
        }
        let opening = async move {
            let mut inbound = client.attach(ReceiverStream::new(queue)).await?.into_inner();
            let first = inbound.message().await?;
            Ok::<_, tonic::Status>((inbound, first))
        };
        let (inbound, first) = match self.tend(timeout(limits::HELLO_TIMEOUT, opening)).await? {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Ok(Ended::Lost(status.into())),
            Err(_) => return Ok(Ended::Lost(lost("the server did not answer the Hello in time"))),
        };
        if let Err(problem) = first.as_ref().map_or(Ok(()), bounds::check) {
            return Ok(Ended::Lost(problem));
        }
        match first.and_then(|message| message.kind) {
            Some(Down::Welcome(welcome)) => {
                if let Err(problem) = self.welcomed(&welcome, hello_sent) {
                    return Ok(Ended::Lost(problem));
                }
            }
            Some(Down::Refusal(refusal)) => return Ok(refused(refusal)),
            _ => return Ok(Ended::Lost(lost("the server did not answer the Hello with a Welcome"))),
        }
        self.converse(inbound, out).await
    }

    fn present_hello(&mut self) -> chaos_kitty::v1::Hello {
        chaos_kitty::v1::Hello {
            held: self.faults.held(),
            epoch: self.authority.epoch,
            server_id: self.authority.server_id.clone(),
            latched: self.authority.latched,
            ..self.hello.clone()
        }
    }

    fn welcomed(&mut self, welcome: &Welcome, hello_sent: Duration) -> Result<(), Problem> {
        self.authority.welcomed(welcome, hello_sent)?;
        self.lease.set(self.authority.lease_until());
        if self.authority.latched {
            self.faults.stop_all_but(&[], EndReason::Halted);
        }
        self.faults.stop_all_but(&welcome.known, EndReason::Stopped);
        let connection_id = welcome.connection_id;
        self.state.send_replace(State::Attached { connection_id });
        self.told.clear();
        tracing::info!(connection_id, endpoint = %self.endpoint, "chaos kitty is watching");
        Ok(())
    }

    async fn converse(
        &mut self,
        mut inbound: Streaming<ServerMessage>,
        out: Outbound,
    ) -> Result<Ended, Leave> {
        loop {
            let reports = self.faults.unsent();
            if !reports.is_empty()
                && let Err(ended) = send(&out, Up::Reports(ActionReports { reports }))
            {
                return Ok(ended);
            }
            tokio::select! {
                message = timeout(SILENCE, inbound.message()) => {
                    let ended = match message {
                        Ok(Ok(Some(message))) => self.take(message, &out).err(),
                        Ok(Ok(None)) => Some(Ended::Lost(lost("the server ended the stream"))),
                        Ok(Err(status)) => Some(Ended::Lost(status.into())),
                        Err(_) => Some(Ended::Lost(lost("nothing was heard of the server for too long"))),
                    };
                    if let Some(ended) = ended {
                        return Ok(ended);
                    }
                }
                Some(report) = self.reports.recv() => self.faults.reported(report),
                command = self.commands.recv() => match command {
                    Some(Command::Invoke { request, reply, sent }) => {
                        let invoke = self.calls.open(*request, reply);
                        let outcome = send(&out, Up::Invoke(invoke));
                        let _ = sent.send(Ok(()));
                        if let Err(ended) = outcome {
                            return Ok(ended);
                        }
                    }
                    Some(Command::Leave) | None => {
                        self.farewell(out, inbound).await;
                        return Err(Leave);
                    }
                },
            }
        }
    }

    /// What orders too much is refused; anything else of the kind is no word of a server to be obeyed.
    fn take(&mut self, message: ServerMessage, out: &Outbound) -> Result<(), Ended> {
        let Err(problem) = bounds::check(&message) else { return self.obey(message.kind, out) };
        tracing::warn!(%problem, "a message of the server is refused");
        match message.kind {
            Some(Down::Start(order)) => self.faults.start(&order, Err(problem)),
            _ => return Err(Ended::Lost(problem)),
        }
        Ok(())
    }

    /// Does what one message says.
    fn obey(&mut self, message: Option<Down>, out: &Outbound) -> Result<(), Ended> {
        match message {
            Some(Down::Renewal(renewal)) => return self.renewed(&renewal, out),
            Some(Down::Start(order)) => {
                let admitted = self.authority.admits(&order, boot_time()).and_then(|()| self.is_mine(&order));
                self.lease.set(self.authority.lease_until());
                self.faults.start(&order, admitted);
            }
            Some(Down::Stop(stop)) if self.authority.seen(stop.epoch).is_ok() => {
                self.faults.stop(&stop.action_id);
            }
            Some(Down::RevertAll(revert)) if self.authority.seen(revert.epoch).is_ok() => {
                self.authority.latched = true;
                self.faults.stop_all_but(&[], EndReason::Halted);
            }
            Some(Down::Unlatch(unlatch)) if self.authority.seen(unlatch.epoch).is_ok() => {
                self.authority.latched = false;
            }
            Some(Down::Taken(taken)) => self.faults.taken(taken.sequence),
            Some(Down::Invoked(invoked)) => self.calls.invoked(invoked),
            Some(Down::Ping(ping)) => return send(out, Up::Pong(Pong { number: ping.number })),
            Some(Down::Refusal(refusal)) => return Err(refused(refusal)),
            Some(Down::Stop(_) | Down::RevertAll(_) | Down::Unlatch(_)) => {
                tracing::warn!("an order of an older run of the server was not obeyed");
            }
            Some(Down::Welcome(_)) => return Err(Ended::Lost(lost("the server sent a second Welcome"))),
            Some(Down::Step(step)) => return send(out, Up::Step(not_here(step.step_id))),
            // Contents are for agents. And a kind of message that is newer than this build.
            Some(Down::Script(_)) | None => {}
        }
        Ok(())
    }

    fn renewed(&mut self, renewal: &LeaseRenewal, out: &Outbound) -> Result<(), Ended> {
        self.authority.renewed(renewal, boot_time()).map_err(Ended::Lost)?;
        self.lease.set(self.authority.lease_until());
        self.backoff.reset();
        send(out, Up::Renewal(LeaseRenewal { number: renewal.number, ..Default::default() }))
    }

    /// The id of a worker is made anew by each process, so it names the incarnation as well.
    fn is_mine(&self, order: &chaos_kitty::v1::StartAction) -> Result<(), Problem> {
        let id = &self.hello.agent_id;
        if order.target_id.rsplit('/').next() == Some(id) {
            return Ok(());
        }
        Err(Problem::new(Code::Recycled, format!("the order is for {}, this is {id}", order.target_id))
            .hint("choose a target from kittyctl target list"))
    }

    /// Ends every fault, reports that, says goodbye, and gives the messages time to leave.
    async fn farewell(&mut self, out: Outbound, mut inbound: Streaming<ServerMessage>) {
        self.end_all().await;
        let reports = self.faults.unsent();
        if !reports.is_empty() {
            let _ = send(&out, Up::Reports(ActionReports { reports }));
        }
        let goodbye = Goodbye { reason: "the worker was closed".to_owned(), process_ended: false };
        let _ = send(&out, Up::Goodbye(goodbye));
        drop(out);
        // The server ends the stream once it has read all of it.
        let _ = timeout(FLUSH, async { while let Ok(Some(_)) = inbound.message().await {} }).await;
    }
}

fn send(out: &Outbound, kind: Up) -> Result<(), Ended> {
    out.try_send(AgentMessage { node: String::new(), kind: Some(kind) })
        .map_err(|_| Ended::Lost(lost("the server takes nothing in")))
}

/// Steps are for agents.
fn not_here(step_id: String) -> StepResult {
    let problem = Problem::new(Code::Unsupported, "a worker runs no steps of experiments")
        .hint("choose a process, unit or container: the agent of its host runs them");
    StepResult { step_id, problem: Some(problem.into()), ..StepResult::default() }
}

fn refused(refusal: Refusal) -> Ended {
    let problem = refusal.problem.map_or_else(|| lost("the server refused the worker"), Problem::from);
    if refusal.permanent { Ended::Refused(problem) } else { Ended::Lost(problem) }
}

fn lost(what: &str) -> Problem {
    Problem::new(Code::ConnectionLost, what)
}
