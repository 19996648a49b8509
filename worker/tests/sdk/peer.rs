//! The other end of a worker's stream: serves `Attach` on a Unix socket and does what a test says.

use std::{
    fmt::Debug,
    path::PathBuf,
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, routing::post};
use chaos_kitty_worker::{Endpoint, v1};
use futures_util::future::{Ready, ready};
use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, server::StreamingService};
use tonic_prost::ProstCodec;
use v1::{
    ActionReport, ActionStatus, AgentMessage, Hello, Invoked, LeaseRenewal, Ping, ReportsTaken, RevertAll,
    ServerMessage, StartAction, StopHeld, Unlatch, UnleashRequest, Welcome, action_state::Name as State,
    agent_message::Kind as Up, server_message::Kind as Down,
};

/// Longest wait for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The lease that [`Session::welcome`] grants.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// Looks until the condition is true.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for what must come.
pub(crate) async fn soon<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what:?}: not within {PATIENCE:?}"),
    }
}

/// Serves one socket.
pub(crate) struct Peer {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
    streams: mpsc::UnboundedReceiver<Stream>,
    server: JoinHandle<()>,
}

struct Stream {
    inbound: Streaming<AgentMessage>,
    out: mpsc::Sender<Result<ServerMessage, Status>>,
}

#[derive(Clone)]
struct Attach(mpsc::UnboundedSender<Stream>);

impl StreamingService<AgentMessage> for Attach {
    type Response = ServerMessage;
    type ResponseStream = ReceiverStream<Result<ServerMessage, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<AgentMessage>>) -> Self::Future {
        let (out, messages) = mpsc::channel(64);
        let stream = Stream { inbound: request.into_inner(), out };
        let sent = self.0.send(stream).map_err(|_| Status::unavailable("the peer is gone"));
        ready(sent.map(|()| Response::new(ReceiverStream::new(messages))))
    }
}

impl Peer {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.ipc");
        let (server, streams) = serve(&path);
        Self { path, _folder: folder, streams, server }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// Takes the socket away.
    pub(crate) fn stop(&self) {
        self.server.abort();
        let _ = std::fs::remove_file(&self.path);
    }

    /// Serves again after [`Self::stop`].
    pub(crate) fn again(&mut self) {
        (self.server, self.streams) = serve(&self.path);
    }

    /// The next stream, after its Hello.
    pub(crate) async fn session(&mut self) -> Session {
        let Stream { mut inbound, out } = soon("a stream", self.streams.recv()).await.unwrap();
        let message = soon("a Hello", inbound.message()).await.unwrap().unwrap();
        let Some(Up::Hello(hello)) = message.kind else { panic!("not a Hello: {message:?}") };
        Session { hello, inbound, out, epoch: 1, orders: 0, reports: Vec::new() }
    }

    /// The next stream, welcomed.
    pub(crate) async fn attached(&mut self) -> Session {
        let session = self.session().await;
        session.welcome(LEASE, &[]).await;
        session
    }

    /// Streams that came in and were not looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.streams.len()
    }
}

fn serve(path: &PathBuf) -> (JoinHandle<()>, mpsc::UnboundedReceiver<Stream>) {
    let (sender, streams) = mpsc::unbounded_channel();
    let handler = move |request: Request| {
        let attach = Attach(sender.clone());
        async move {
            let codec = ProstCodec::<ServerMessage, AgentMessage>::default();
            tonic::server::Grpc::new(codec).streaming(attach, request).await
        }
    };
    let router = Router::new().route("/chaoskitty.v1.Chaos/Attach", post(handler));
    let listener = UnixListener::bind(path).unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (server, streams)
}

/// One stream of one worker. Dropping it ends the stream.
pub(crate) struct Session {
    pub(crate) hello: Hello,
    pub(crate) epoch: u64,
    inbound: Streaming<AgentMessage>,
    out: mpsc::Sender<Result<ServerMessage, Status>>,
    orders: u64,
    /// Reports that came in while something else was waited for.
    reports: Vec<ActionReport>,
}

impl Session {
    pub(crate) async fn send(&self, kind: Down) {
        let message = ServerMessage { node: String::new(), kind: Some(kind) };
        self.out.send(Ok(message)).await.unwrap();
    }

    pub(crate) async fn welcome(&self, lease: Duration, known: &[String]) {
        self.send(Down::Welcome(Welcome {
            connection_id: 1,
            lease: Some(lease.into()),
            epoch: self.epoch,
            server_id: "peer".to_owned(),
            protocol_version: 1,
            known: known.to_vec(),
            latched: false,
        }))
        .await;
    }

    /// Orders an action in time, and answers its id.
    pub(crate) async fn start(&mut self, action: v1::Action) -> String {
        self.orders += 1;
        let id = format!("action-{}-{}", self.epoch, self.orders);
        self.order(self.order_of(&id, action)).await;
        id
    }

    pub(crate) fn order_of(&self, id: &str, action: v1::Action) -> StartAction {
        StartAction {
            action_id: id.to_owned(),
            target_id: format!("worker/host/{}", self.hello.agent_id),
            action: Some(action),
            epoch: self.epoch,
            start_within: Some(Duration::from_secs(5).into()),
            ..Default::default()
        }
    }

    pub(crate) async fn order(&self, order: StartAction) {
        self.send(Down::Start(order)).await;
    }

    pub(crate) async fn stop(&self, action_id: &str) {
        let action_id = action_id.to_owned();
        self.send(Down::Stop(StopHeld { action_id, epoch: self.epoch })).await;
    }

    pub(crate) async fn revert_all(&self) {
        self.send(Down::RevertAll(RevertAll { epoch: self.epoch })).await;
    }

    pub(crate) async fn unlatch(&self) {
        self.send(Down::Unlatch(Unlatch { epoch: self.epoch })).await;
    }

    pub(crate) async fn taken(&self, sequence: u64) {
        self.send(Down::Taken(ReportsTaken { sequence })).await;
    }

    /// The next message that is not a report. Reports are kept.
    pub(crate) async fn message(&mut self) -> Option<Up> {
        loop {
            match soon("a message", self.inbound.message()).await {
                Ok(Some(AgentMessage { kind: Some(Up::Reports(news)), .. })) => {
                    self.reports.extend(news.reports);
                }
                Ok(message) => return message.and_then(|message| message.kind),
                Err(_) => return None,
            }
        }
    }

    /// The report of that state of that action. Fails on another final state.
    pub(crate) async fn report(&mut self, action_id: &str, state: State) -> ActionReport {
        loop {
            let mine = |report: &ActionReport| report.action_id == action_id;
            if let Some(at) = self.reports.iter().position(mine) {
                let report = self.reports.remove(at);
                if report.state() == state {
                    return report;
                }
                let passing = matches!(report.state(), State::Accepted | State::Started);
                assert!(passing, "{state:?} was awaited, {report:?} came");
                continue;
            }
            let what = format!("report {state:?} of {action_id}");
            let message = soon(what, self.inbound.message()).await.unwrap().unwrap();
            match message.kind {
                Some(Up::Reports(news)) => self.reports.extend(news.reports),
                other => panic!("{state:?} of {action_id} was awaited, {other:?} came"),
            }
        }
    }

    /// Whether the worker answers a Ping.
    pub(crate) async fn answers(&mut self, number: u64) -> bool {
        self.send(Down::Ping(Ping { number })).await;
        matches!(self.message().await, Some(Up::Pong(pong)) if pong.number == number)
    }

    /// Renews the lease, and answers the number that came back.
    pub(crate) async fn renew(&mut self, number: u64, answered: u64) -> u64 {
        self.send(Down::Renewal(LeaseRenewal { number, answered, epoch: self.epoch })).await;
        match self.message().await {
            Some(Up::Renewal(renewal)) => renewal.number,
            other => panic!("not an answer to a renewal: {other:?}"),
        }
    }

    /// The next call that the worker makes.
    pub(crate) async fn invoke(&mut self) -> (u64, UnleashRequest) {
        match self.message().await {
            Some(Up::Invoke(invoke)) => (invoke.call, invoke.request.unwrap()),
            other => panic!("not a call: {other:?}"),
        }
    }

    pub(crate) async fn update(&self, call: u64, id: &str) {
        let update = ActionStatus { id: id.to_owned(), ..Default::default() };
        let kind = Some(v1::invoked::Kind::Update(update));
        self.send(Down::Invoked(Invoked { call, kind })).await;
    }
}
