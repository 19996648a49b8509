//! Servers that go away, do not answer, or hang up.

use std::{
    io::Write,
    os::unix::net::UnixListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use chaos_kitty_worker::{Endpoint, State, v1};
use tracing_subscriber::fmt::MakeWriter;
use v1::{action_state::Name as ActionState, end_reason::Name as EndReason};

use crate::{
    actions,
    peer::{LEASE, Peer, eventually},
    worker,
};

/// A log that tests read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
    }

    /// Everything that this thread, and workers that it connects, log from now on.
    fn capture(&self, json: bool) -> tracing::subscriber::DefaultGuard {
        let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(self.clone());
        if json {
            tracing::subscriber::set_default(builder.json().finish())
        } else {
            tracing::subscriber::set_default(builder.finish())
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_fault_whose_server_is_gone_ends_with_the_lease_and_is_reported_when_it_is_back() {
    let mut peer = Peer::start();
    let (builder, points) = worker("orphan");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.session().await;
    session.welcome(Duration::from_secs(2), &[]).await;
    let welcomed = Instant::now();
    let id = session.start(actions::error(Duration::from_secs(60), actions::boom())).await;
    session.report(&id, ActionState::Started).await;
    peer.stop();
    drop(session);
    assert!(points.inject("any").is_err(), "it goes on without a connection");
    eventually("the lease ends it", || points.inject("any").is_ok()).await;
    assert!(welcomed.elapsed() < Duration::from_secs(10), "{:?}", welcomed.elapsed());

    peer.again();
    let session = peer.session().await;
    let report = session.hello.held.iter().rfind(|report| report.action_id == id).unwrap();
    assert_eq!((report.state(), report.end_reason()), (ActionState::Reverted, EndReason::Lease));
}

#[tokio::test]
async fn a_fault_whose_server_is_gone_ends_at_its_deadline_if_that_is_sooner() {
    let mut peer = Peer::start();
    let (builder, points) = worker("short");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::error(Duration::from_millis(500), actions::boom())).await;
    session.report(&id, ActionState::Started).await;
    peer.stop();
    drop(session);
    eventually("the deadline ends it", || points.inject("any").is_ok()).await;
    peer.again();
    let session = peer.session().await;
    let report = session.hello.held.iter().rfind(|report| report.action_id == id).unwrap();
    assert_eq!((report.state(), report.end_reason()), (ActionState::Reverted, EndReason::Deadline));
}

/// A worker for 4 s against a socket that answers every connection with these bytes and hangs up: how often
/// it tried, and what it logged.
async fn rebuffed(answer: &'static [u8]) -> (usize, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rude.ipc");
    let listener = UnixListener::bind(&path).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            counter.fetch_add(1, Relaxed);
            let _ = stream.write_all(answer);
        }
    });
    let log = Log::default();
    let capture = log.capture(false);
    let _worker = worker("patient").0.connect_to(Endpoint::Unix(path)).unwrap();
    drop(capture);
    tokio::time::sleep(Duration::from_secs(4)).await;
    (accepted.load(Relaxed), log.lines())
}

#[tokio::test]
async fn a_peer_that_accepts_and_hangs_up_is_not_hammered() {
    let (attempts, log) = rebuffed(b"").await;
    assert!((2..40).contains(&attempts), "{attempts} attempts in 4 s");
    assert!(log.len() <= 3, "{log:#?}");
}

#[tokio::test]
async fn a_peer_that_talks_something_else_is_neither_believed_nor_hammered() {
    for answer in [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmeow".as_slice(), &[0xc1; 4096]] {
        let (attempts, log) = rebuffed(answer).await;
        assert!((2..40).contains(&attempts), "{attempts} attempts in 4 s");
        assert!(log.len() <= 4, "{log:#?}");
    }
}

#[tokio::test]
async fn a_server_that_welcomes_and_hangs_up_is_not_hammered_either() {
    let mut peer = Peer::start();
    let _worker = worker("polite").0.connect_to(peer.endpoint()).unwrap();
    let began = Instant::now();
    let mut streams = 0;
    while began.elapsed() < Duration::from_secs(4) {
        match tokio::time::timeout(Duration::from_millis(100), peer.session()).await {
            Ok(session) => session.welcome(LEASE, &[]).await,
            Err(_) => continue,
        }
        streams += 1;
    }
    assert!((2..40).contains(&streams), "{streams} streams in 4 s");
}

// Several threads, so that the peer goes on while the workers are dropped.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_each_worker_one_line_to_lose_the_server_and_one_to_find_it() {
    const WORKERS: usize = 50;
    let mut peer = Peer::start();
    let log = Log::default();
    let capture = log.capture(false);
    let workers: Vec<_> =
        (0..WORKERS).map(|_| worker("many").0.connect_to(peer.endpoint()).unwrap()).collect();
    drop(capture);
    let mut sessions = Vec::new();
    for _ in 0..WORKERS {
        sessions.push(peer.attached().await);
    }
    let all = |wanted: fn(&State) -> bool| workers.iter().all(|worker| wanted(&worker.state()));
    eventually("all attached", || all(|state| matches!(state, State::Attached { .. }))).await;
    let before = log.lines().len();
    peer.stop();
    sessions.clear();
    tokio::time::sleep(Duration::from_secs(10)).await;
    // The stream that ends and the socket that is gone are two troubles.
    let during = log.lines().len() - before;
    assert!(during <= 2 * WORKERS, "{during} lines for {WORKERS} workers in 10 s");
    peer.again();
    for _ in 0..WORKERS {
        sessions.push(peer.attached().await);
    }
    eventually("all back", || all(|state| matches!(state, State::Attached { .. }))).await;
    let after = log.lines().len() - before - during;
    assert!(after <= WORKERS, "{after} lines to come back");
}

#[tokio::test]
async fn the_log_tells_an_errors_text_in_a_field_that_overwrites_nothing() {
    let mut peer = Peer::start();
    let log = Log::default();
    let capture = log.capture(true);
    let _worker = worker("logged").0.connect_to(peer.endpoint()).unwrap();
    drop(capture);
    let mut session = peer.attached().await;
    let id = session.start(actions::error(Duration::from_millis(100), actions::boom())).await;
    session.report(&id, ActionState::Reverted).await;
    let lines: Vec<serde_json::Value> =
        log.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |words: &str| lines.iter().find(|line| line["fields"]["message"] == words).unwrap();
    let yowl = &line("chaos kitty yowls")["fields"];
    assert_eq!(yowl["action_id"], id.as_str());
    assert!(yowl["order"].as_str().unwrap().contains("boom"), "{yowl}");
    assert!(line("chaos kitty is done")["fields"]["figures"].as_str().unwrap().contains("boom"));
}
