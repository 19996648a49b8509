//! The local socket's gRPC side: `Attach` for workers and other agents, nothing else.

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem, limits, nss,
    peer::Watched,
    socket::LocalSocket,
    v1::{
        self,
        chaos_server::{Chaos, ChaosServer},
    },
};
use futures_util::stream;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Relay,
    link::{self, Received},
    places::Places,
};

/// The owner and the group may connect, nobody else.
const MODE: u32 = 0o660;

/// Streams on one connection: a process may hold several workers.
const STREAMS: u32 = 64;

/// A connection without a stream is closed after this: some time after a Hello that does not come was
/// answered.
const UNUSED: Duration = limits::HELLO_TIMEOUT.saturating_add(Duration::from_secs(5));

/// That connections are turned away is told once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listens at `path`, for this process's user and `group` (by name or number; this process's own where it is
/// not given).
///
/// # Errors
/// [`Code::Usage`]: the path is taken or can not be written, or there is no such group.
pub(crate) fn listen(path: &Path, group: Option<&str>) -> Result<LocalSocket, Problem> {
    let local = LocalSocket::bind(path, MODE)?;
    if let Some(group) = group {
        let given = group_id(group).and_then(|id| std::os::unix::fs::chown(path, None, Some(id)));
        given.map_err(|error| {
            Problem::new(Code::Usage, format!("giving unix:{} to the group {group}: {error}", path.display()))
                .hint(
                    "name a group of this host with --listen-group, and one that this user may give files to",
                )
        })?;
    }
    Ok(local)
}

/// By number or by name.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let found = nss::group(group)?.map(|group| group.gid);
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such group"))
}

/// Accepts neighbours, for as long as it is polled.
pub(crate) async fn serve(local: LocalSocket, relay: Arc<Relay>) -> Infallible {
    let places = Places::of_this_process();
    let (mut failing, mut turned_away, mut told) = (false, 0_u64, None::<Instant>);
    loop {
        match local.listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                match places.take(&stream) {
                    Ok(place) => {
                        let relay = Arc::clone(&relay);
                        tokio::spawn(async move {
                            connection(stream, relay).await;
                            drop(place);
                        });
                    }
                    Err(why) => {
                        turned_away += 1;
                        if told.is_none_or(|at| at.elapsed() > TOLD_AGAIN) {
                            told = Some(Instant::now());
                            tracing::warn!(
                                why,
                                turned_away,
                                "connections to the local socket are closed at once"
                            );
                        }
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "no connection can be accepted on the local socket");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, until it closes or has been without a stream for too long.
async fn connection(stream: UnixStream, relay: Arc<Relay>) {
    let peer = Watched::of(&stream).map(Arc::new);
    let (live, mut streams) = watch::channel(0);
    let service = ChaosServer::new(Neighbour { relay, peer, live })
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        outcome = served => {
            if let Err(error) = outcome {
                tracing::debug!(error, "a local connection broke off");
            }
        }
        () = unused(&mut streams) => tracing::debug!("a local connection without a stream is closed"),
    }
}

/// Waits until there has been no stream for [`UNUSED`].
async fn unused(streams: &mut watch::Receiver<usize>) {
    loop {
        let idle = *streams.borrow_and_update() == 0;
        match timeout(UNUSED, streams.changed()).await {
            Err(_) if idle => return,
            Ok(Err(_)) => return std::future::pending().await,
            _ => {}
        }
    }
}

/// The service for one connection.
struct Neighbour {
    relay: Arc<Relay>,
    peer: Option<Arc<Watched>>,
    live: watch::Sender<usize>,
}

/// An answer of a call that is not served here.
type Nothing<T> = stream::Empty<Result<T, Status>>;

/// The calls that only the server answers.
macro_rules! elsewhere {
    ($($call:ident($request:ident) -> $answer:ty;)*) => {
        #[tonic::async_trait]
        impl Chaos for Neighbour {
            type AttachStream = Received;
            type WatchEventsStream = Nothing<v1::Event>;
            type UnleashStream = Nothing<v1::ActionStatus>;
            type HaltStream = Nothing<v1::HaltProgress>;
            type WatchExperimentStream = Nothing<v1::Experiment>;

            async fn attach(
                &self,
                request: Request<Streaming<v1::AgentMessage>>,
            ) -> Result<Response<Received>, Status> {
                let (relay, peer) = (Arc::clone(&self.relay), self.peer.clone());
                let received = link::accept(relay, peer, request.into_inner(), self.live.clone()).await?;
                Ok(Response::new(received))
            }

            $(async fn $call(&self, _: Request<v1::$request>) -> Result<Response<$answer>, Status> {
                Err(not_here())
            })*
        }
    };
}

elsewhere! {
    get_status(GetStatusRequest) -> v1::Status;
    list_agents(ListAgentsRequest) -> v1::ListAgentsResponse;
    list_targets(ListTargetsRequest) -> v1::ListTargetsResponse;
    list_platforms(ListPlatformsRequest) -> v1::ListPlatformsResponse;
    watch_events(WatchEventsRequest) -> Self::WatchEventsStream;
    unleash(UnleashRequest) -> Self::UnleashStream;
    list_actions(ListActionsRequest) -> v1::ListActionsResponse;
    get_action(GetActionRequest) -> v1::ActionStatus;
    stop_action(StopActionRequest) -> v1::ActionStatus;
    halt(HaltRequest) -> Self::HaltStream;
    resume(ResumeRequest) -> v1::ResumeResponse;
    list_operations(ListOperationsRequest) -> v1::ListOperationsResponse;
    put_operation(PutOperationRequest) -> v1::OperationStatus;
    delete_operation(DeleteOperationRequest) -> v1::DeleteOperationResponse;
    build_experiment(ExperimentSuite) -> v1::BuildExperimentResponse;
    get_experiment_history(GetExperimentHistoryRequest) -> v1::ExperimentHistory;
    get_suite_record(GetSuiteRecordRequest) -> v1::SuiteRecord;
    start_experiment(StartExperimentRequest) -> v1::BuildExperimentResponse;
    list_experiments(ListExperimentsRequest) -> v1::ListExperimentsResponse;
    get_experiment(GetExperimentRequest) -> v1::Experiment;
    watch_experiment(GetExperimentRequest) -> Self::WatchExperimentStream;
    stop_experiment(StopExperimentRequest) -> v1::Experiment;
    list_experiment_methods(ListExperimentMethodsRequest) -> v1::ListExperimentMethodsResponse;
    list_scripts(ListScriptsRequest) -> v1::ListScriptsResponse;
    get_script(GetScriptRequest) -> v1::Script;
    get_admin_state(GetAdminStateRequest) -> v1::AdminStateResponse;
    set_admin_state(SetAdminStateRequest) -> v1::AdminStateResponse;
    get_schedule(GetScheduleRequest) -> v1::Schedule;
    update_schedule(UpdateScheduleRequest) -> v1::Schedule;
}

fn not_here() -> Status {
    Problem::new(Code::NoSuchPath, "an agent's socket serves Attach only")
        .hint("call the server: its address is what the agent got as --server")
        .into()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_a_group_that_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.ipc");
        let own = rustix::process::getegid().as_raw().to_string();
        let local = listen(&path, Some(&own)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        drop(local);
        let refused = listen(&path, Some("no-such-group")).unwrap_err();
        assert!(refused.message.contains("no-such-group") && refused.code == Code::Usage);
    }
}
