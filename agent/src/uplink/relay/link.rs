//! One neighbour's stream, from its Hello to its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem, limits,
    peer::{Peer, Watched},
    v1::{AgentMessage, Hello, ServerMessage, agent_message::Kind as Up},
};
use futures_util::Stream;
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    Link, Relay, Upward, away,
    queue::{Receiver, Sender, queue},
    table::violation,
};

/// Messages of the server that wait for a neighbour to read them.
const DOWN: usize = 256;

/// How long a neighbour's Hello waits for this agent's own stream to the server.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// A process closes its sockets a moment before it counts as ended.
const END_TIMEOUT: Duration = Duration::from_millis(200);

/// The near end of a neighbour's stream.
pub(super) struct Handle {
    down: Sender<ServerMessage>,
    cause: oneshot::Sender<Problem>,
    ended: CancellationToken,
    peer: Option<Arc<Watched>>,
}

impl Handle {
    /// With the half that the neighbour reads from.
    pub(super) fn new(peer: Option<Arc<Watched>>) -> (Self, Received) {
        let (down, messages) = queue(DOWN);
        let (cause, end) = oneshot::channel();
        let ended = CancellationToken::new();
        let received = Received { messages, end: Some(end), ended: ended.clone() };
        (Self { down, cause, ended, peer }, received)
    }

    /// Whether there was room for it.
    pub(super) fn send(&self, message: ServerMessage) -> bool {
        self.down.try_send(message)
    }

    /// Ends the stream, with the reason after all that was sent.
    pub(super) fn cut(self, problem: Problem) {
        tracing::info!(%problem, "a neighbour's stream is ended");
        let _gone_already = self.cause.send(problem);
        self.ended.cancel();
    }

    /// The neighbour's process is known to have ended.
    pub(super) fn peer_ended(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.ended_within(Duration::ZERO))
    }
}

/// What the neighbour reads: the server's messages, then why there are no more.
pub(super) struct Received {
    messages: Receiver<ServerMessage>,
    end: Option<oneshot::Receiver<Problem>>,
    ended: CancellationToken,
}

impl Stream for Received {
    type Item = Result<ServerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = ready!(self.messages.poll_recv(context)) {
            return Poll::Ready(Some(Ok(message)));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let end = ready!(Pin::new(end).poll(context));
        self.end = None;
        Poll::Ready(end.ok().map(|problem| Err(problem.into())))
    }
}

/// The neighbour hung up.
impl Drop for Received {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// Waits for a neighbour's Hello and lets it in; its messages are then taken up by a task of their own.
/// `live` counts the streams of the connection.
pub(super) async fn accept(
    relay: Arc<Relay>,
    peer: Option<Arc<Watched>>,
    mut stream: Streaming<AgentMessage>,
    live: watch::Sender<usize>,
) -> Result<Received, Problem> {
    let hello = vouched(first_hello(&mut stream).await?, peer.as_ref().map(|watched| watched.peer));
    let is_ready = async { relay.ready.subscribe().wait_for(|ready| *ready).await.map(drop) };
    timeout(READY_TIMEOUT, is_ready).await.map_err(|_| away())?.map_err(|_| away())?;
    tracing::info!(node = hello.agent_id, pid = hello.pid, "a neighbour attaches");
    let (link, received, upward) = relay.attach(hello, peer.clone())?;
    let ended = received.ended.clone();
    live.send_modify(|count| *count += 1);
    tokio::spawn(async move {
        let read = read(&relay, link, stream, upward);
        tokio::select! {
            biased; // a Goodbye may come together with the end
            () = read => {}
            () = ended.cancelled() => {}
            () = process_end(peer.as_deref()) => {}
        }
        let process_ended = timeout(END_TIMEOUT, process_end(peer.as_deref())).await.is_ok();
        if let Some(upward) = relay.detach(link, process_ended) {
            let _server_away = forward(upward).await;
        }
        live.send_modify(|count| *count -= 1);
    });
    Ok(received)
}

async fn first_hello(stream: &mut Streaming<AgentMessage>) -> Result<Hello, Problem> {
    let first = timeout(limits::HELLO_TIMEOUT, stream.message()).await;
    let mut message = first.map_err(|_| violation("no Hello came in time"))??;
    message.as_mut().map(super::within_bounds).transpose()?;
    match message {
        Some(AgentMessage { node, kind: Some(Up::Hello(hello)) }) if node.is_empty() => Ok(hello),
        _ => Err(violation("the first message of a stream must be a Hello")),
    }
}

/// What a process says of itself is replaced by what the socket says of it.
fn vouched(hello: Hello, peer: Option<Peer>) -> Hello {
    let (pid, start_time) = peer.map(|peer| (peer.pid, peer.start_time)).unwrap_or_default();
    Hello { pid, start_time, verified: peer.is_some(), ..hello }
}

/// Passes a neighbour's messages on until one is an error or its stream ends.
async fn read(relay: &Relay, link: Link, mut stream: Streaming<AgentMessage>, hello: Upward) {
    let mut next = Ok(hello);
    loop {
        match next {
            Ok(upward) => {
                if !forward(upward).await {
                    return;
                }
            }
            Err(problem) => return relay.cut(link, problem),
        }
        next = match stream.message().await {
            Ok(Some(message)) => relay.up(link, message),
            Ok(None) => return,
            Err(status) => Err(broken(status)),
        };
    }
}

/// Waits for room on the way up, which holds up this neighbour and nobody else. False: the server is away.
async fn forward((messages, up): Upward) -> bool {
    for message in messages {
        if !up.send(message).await {
            return false;
        }
    }
    true
}

/// Never, where the process is not known.
async fn process_end(peer: Option<&Watched>) {
    match peer {
        Some(peer) if peer.ended().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// A stream that broke off, or that carried what is no message.
fn broken(status: Status) -> Problem {
    match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            Problem::new(Code::TooLarge, status.message())
        }
        tonic::Code::Internal | tonic::Code::InvalidArgument => violation(status.message()),
        _ => Problem::new(Code::ConnectionLost, status.message()),
    }
}
