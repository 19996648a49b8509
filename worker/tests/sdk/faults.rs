//! Each action, as the application feels it and as it is reported.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use chaos_kitty_worker::{Code, GcFigures, Problem, v1};
use tokio::{
    runtime::{Builder as Runtime, Handle},
    signal::unix::SignalKind,
};
use v1::{
    ActionReport, action_result::Kind as Figures, action_state::Name as State, end_reason::Name as EndReason,
};

use crate::{
    actions,
    peer::{Peer, Session, eventually, soon},
    worker,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

/// An application: a runtime of its own, for the rest of the test process, that counts milliseconds.
fn application(mut runtime: Runtime) -> (Handle, Arc<AtomicU64>) {
    let ticks = Arc::new(AtomicU64::new(0));
    let counter = ticks.clone();
    let (started, handle) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime.enable_all().build().unwrap();
        runtime.spawn(async move {
            loop {
                counter.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        started.send(runtime.handle().clone()).unwrap();
        runtime.block_on(pending::<()>());
    });
    (handle.recv().unwrap(), ticks)
}

fn problem(report: &ActionReport) -> Problem {
    report.problem.clone().unwrap().into()
}

fn figures(report: &ActionReport) -> Figures {
    report.result.clone().unwrap().kind.unwrap()
}

fn time(duration: Option<pbjson_types::Duration>) -> Duration {
    duration.unwrap().try_into().unwrap()
}

async fn refused(session: &mut Session, action: v1::Action) -> Code {
    let id = session.start(action).await;
    problem(&session.report(&id, State::Refused).await).code
}

async fn a_delay_stands_the_executor_still(runtime: Runtime, threads: &str) {
    let mut peer = Peer::start();
    let (executor, ticks) = application(runtime);
    let _worker = worker("still").0.executor(executor).connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::delay(SHORT * 3)).await;
    let started = session.report(&id, State::Started).await;
    let before = ticks.load(Relaxed);
    assert_eq!(started.evidence[0].value, threads);

    assert!(session.answers(1).await, "the control channel is alive");
    let other = session.start(actions::gc()).await;
    session.report(&other, State::Done).await;

    let report = session.report(&id, State::Reverted).await;
    let Figures::Delay(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!((result.means.as_str(), report.end_reason()), ("executor", EndReason::Deadline));
    assert!(time(result.held) >= SHORT * 3, "{result:?}");
    // It ran again for a moment before this was read, and not while it was to stand still.
    assert!(ticks.load(Relaxed) - before < 300, "it stood still");
    let after = ticks.load(Relaxed);
    eventually("it runs again", || ticks.load(Relaxed) > after).await;
}

#[tokio::test]
async fn a_delay_stands_a_current_thread_executor_still_and_the_control_channel_answers() {
    a_delay_stands_the_executor_still(Runtime::new_current_thread(), "1").await;
}

#[tokio::test]
async fn a_delay_stands_every_thread_of_an_executor_still() {
    let mut runtime = Runtime::new_multi_thread();
    runtime.worker_threads(3);
    a_delay_stands_the_executor_still(runtime, "3").await;
}

#[tokio::test]
async fn a_delay_of_an_executor_that_nobody_runs_fails_and_holds_nothing() {
    let mut peer = Peer::start();
    let dead = Runtime::new_current_thread().build().unwrap();
    let _worker = worker("dead").0.executor(dead.handle().clone()).connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::delay(SHORT)).await;
    let report = session.report(&id, State::Failed).await;
    assert_eq!(problem(&report).code, Code::NoAnswer);
    tokio::task::spawn_blocking(|| drop(dead)).await.unwrap();
}

#[test]
fn without_an_executor_a_delay_holds_the_guarded_points_or_is_refused() {
    // The test's own runtime must not be the one that connect finds.
    let runtime = Runtime::new_current_thread().enable_all().build().unwrap();
    let mut peer = runtime.block_on(async { Peer::start() });
    let (builder, points) = worker("plain");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = runtime.block_on(peer.attached());
    assert_eq!(runtime.block_on(refused(&mut session, actions::delay(SHORT))), Code::Unsupported);

    points.inject("loop").unwrap();
    runtime.block_on(async {
        let id = session.start(actions::delay(SHORT)).await;
        session.report(&id, State::Started).await;
        let passing = tokio::task::spawn_blocking(move || points.inject("loop"));
        let report = session.report(&id, State::Reverted).await;
        assert_eq!(passing.await.unwrap(), Ok(()));
        let Figures::Delay(result) = figures(&report) else { panic!("{report:?}") };
        assert_eq!((result.means.as_str(), result.requests), ("requests", 1));
    });
}

#[tokio::test]
async fn memory_is_resident_when_it_is_reported_and_given_back_at_the_end() {
    const SIZE: u64 = 64 << 20;
    let mut peer = Peer::start();
    let _worker = worker("memory").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::memory(SHORT, SIZE)).await;
    let started = session.report(&id, State::Started).await;
    let Figures::Memory(result) = figures(&started) else { panic!("{started:?}") };
    assert_eq!(result.resident_bytes, SIZE);
    let report = session.report(&id, State::Reverted).await;
    let Figures::Memory(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!((result.resident_bytes, result.returned_bytes), (SIZE, SIZE));
    assert!(time(result.held) >= SHORT);
}

#[tokio::test]
async fn more_memory_than_there_is_is_refused_and_the_process_lives_on() {
    let mut peer = Peer::start();
    let _worker = worker("greedy").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    assert_eq!(refused(&mut session, actions::memory(SHORT, 1 << 50)).await, Code::TooMuch);
    assert_eq!(refused(&mut session, actions::memory(SHORT, u64::MAX)).await, Code::TooMuch);
    assert_eq!(refused(&mut session, actions::memory(SHORT, 0)).await, Code::InvalidArgument);
    assert!(session.answers(1).await);
}

#[tokio::test]
async fn a_spin_burns_what_was_asked_and_says_how_much_that_was() {
    let mut peer = Peer::start();
    let _worker = worker("spin").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::cpu(Duration::from_secs(1), 1, 30)).await;
    let report = session.report(&id, State::Reverted).await;
    let Figures::Cpu(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!((result.threads, result.requested_load), (1, 30.0));
    assert!(result.iterations > 0);
    // Never more than asked; how near it comes from below depends on who else runs here.
    assert!((5.0..35.0).contains(&result.achieved_load), "{result:?}");
}

#[tokio::test]
async fn a_collection_says_what_was_resident_before_and_after() {
    let mut peer = Peer::start();
    let _worker = worker("tidy").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::gc()).await;
    let report = session.report(&id, State::Done).await;
    let Figures::Gc(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!(result.runtime, "allocator");
    assert!(result.bytes_before > 0 && result.bytes_after > 0 && result.pause.is_some());
}

#[tokio::test]
async fn an_applications_own_collector_is_run_and_one_that_panics_kills_nobody() {
    let mut peer = Peer::start();
    let runs = AtomicU64::new(0);
    let collect = move || {
        let before = runs.fetch_add(1, Relaxed);
        assert!(before < 1, "a defect in the application's hook");
        GcFigures { collections_before: Some(7), collections_after: Some(8), runtime: "own".to_owned() }
    };
    let _worker = worker("own").0.on_gc(collect).connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::gc()).await;
    let report = session.report(&id, State::Done).await;
    let Figures::Gc(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!((result.collections_before, result.collections_after), (Some(7), Some(8)));

    let id = session.start(actions::gc()).await;
    let report = session.report(&id, State::Failed).await;
    assert_eq!(problem(&report).code, Code::Internal);
    assert!(session.answers(1).await);
}

#[tokio::test]
async fn a_signal_that_the_application_handles_reaches_its_handler_and_is_reported() {
    let mut peer = Peer::start();
    let mut handler = tokio::signal::unix::signal(SignalKind::user_defined1()).unwrap();
    let _worker = worker("handles").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::kill("USR1")).await;
    let accepted = session.report(&id, State::Accepted).await;
    session.taken(accepted.sequence).await;
    let report = session.report(&id, State::Done).await;
    soon("the handler", handler.recv()).await.unwrap();
    let Figures::Kill(result) = figures(&report) else { panic!("{report:?}") };
    assert_eq!(
        (result.signal.as_str(), result.pids, result.ended),
        ("USR1", vec![std::process::id()], false)
    );
}

#[tokio::test]
async fn a_signal_that_would_do_nothing_or_stop_the_worker_for_good_is_refused() {
    let mut peer = Peer::start();
    let _worker = worker("picky").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    // Rust programs ignore SIGPIPE.
    assert_eq!(refused(&mut session, actions::kill("PIPE")).await, Code::AlreadyInState);
    assert_eq!(refused(&mut session, actions::kill("STOP")).await, Code::Unsupported);
    assert_eq!(refused(&mut session, actions::kill("MEOW")).await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_second_fault_on_one_resource_is_refused_and_on_another_it_is_not() {
    let mut peer = Peer::start();
    let _worker = worker("busy").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let first = session.start(actions::error(LONG, actions::boom())).await;
    session.report(&first, State::Started).await;
    assert_eq!(refused(&mut session, actions::error(SHORT, actions::boom())).await, Code::AlreadyHeld);
    let other = session.start(actions::cpu(SHORT, 1, 1)).await;
    session.report(&other, State::Reverted).await;
    session.stop(&first).await;
    assert_eq!(session.report(&first, State::Reverted).await.end_reason(), EndReason::Stopped);
    let again = session.start(actions::error(SHORT, actions::boom())).await;
    session.report(&again, State::Reverted).await;
}

#[tokio::test]
async fn the_same_order_twice_starts_nothing_twice() {
    let mut peer = Peer::start();
    let _worker = worker("once").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let order = session.order_of("one", actions::gc());
    session.order(order.clone()).await;
    session.report("one", State::Done).await;
    session.order(order).await;
    let other = session.start(actions::gc()).await;
    // Whatever the second order had brought about would have been reported before this.
    assert_eq!(session.report(&other, State::Done).await.sequence, 4);
}

#[tokio::test]
async fn a_halt_reverts_everything_and_nothing_starts_until_it_is_unlatched() {
    let mut peer = Peer::start();
    let _worker = worker("halted").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let held = session.start(actions::error(LONG, actions::boom())).await;
    session.report(&held, State::Started).await;
    session.revert_all().await;
    assert_eq!(session.report(&held, State::Reverted).await.end_reason(), EndReason::Halted);
    assert_eq!(refused(&mut session, actions::gc()).await, Code::Halted);
    session.unlatch().await;
    let id = session.start(actions::gc()).await;
    session.report(&id, State::Done).await;
}

#[tokio::test]
async fn orders_that_come_late_or_from_an_older_run_or_for_another_are_refused() {
    let mut peer = Peer::start();
    let _worker = worker("strict").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.session().await;
    session.epoch = 5;
    session.welcome(LONG, &[]).await;
    let order = |id: &str| session.order_of(id, actions::gc());
    let late = v1::StartAction { answered: 99, ..order("late") };
    let stale = v1::StartAction { epoch: 4, ..order("stale") };
    let foreign = v1::StartAction { target_id: "worker/host/other-00000000".to_owned(), ..order("foreign") };
    let script = session.order_of("script", v1::Action { kind: None, duration: None });
    for (order, code) in [
        (late, Code::OrderTooLate),
        (stale, Code::StaleEpoch),
        (foreign, Code::Recycled),
        (script, Code::InvalidArgument),
    ] {
        let id = order.action_id.clone();
        session.order(order).await;
        assert_eq!(problem(&session.report(&id, State::Refused).await).code, code, "{id}");
    }
}
