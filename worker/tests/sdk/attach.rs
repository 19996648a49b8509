//! Coming, staying, leaving, and calls through the stream.

use std::time::Duration;

use chaos_kitty_worker::{Code, State, Worker, v1};
use v1::{
    Goodbye, Refusal, UnleashRequest, action_state::Name as ActionState, agent_message::Kind as Up,
    agent_role::Name as Role, end_reason::Name as EndReason, server_message::Kind as Down,
};

use crate::{
    actions,
    peer::{LEASE, Peer, eventually, soon},
    worker,
};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_worker_presents_itself_with_what_its_application_said() {
    let mut peer = Peer::start();
    let (builder, _) = worker("billing");
    let worker = builder.label("tier", "web").connect_to(peer.endpoint()).unwrap();
    let hello = peer.session().await.hello;
    assert_eq!(hello.role(), Role::Worker);
    assert_eq!((hello.name.as_str(), hello.group.as_str()), ("billing", "tests"));
    assert_eq!(hello.labels["tier"], "web");
    assert_eq!(hello.agent_id, worker.id());
    let suffix = hello.agent_id.strip_prefix("billing-").unwrap();
    assert!(suffix.len() == 8 && suffix.chars().all(|c| c.is_ascii_hexdigit()), "{suffix}");
}

#[tokio::test]
async fn a_step_of_an_experiment_is_answered_with_who_runs_them() {
    let mut peer = Peer::start();
    let _worker = worker("till").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    session.send(Down::Step(v1::RunStep { step_id: "a/b/1".to_owned(), ..Default::default() })).await;
    let Some(Up::Step(result)) = session.message().await else { panic!("no answer to the step") };
    assert_eq!(
        (result.step_id.as_str(), result.problem.unwrap().code),
        ("a/b/1", Code::Unsupported.number())
    );
}

#[tokio::test]
async fn two_workers_of_one_name_are_two_targets() {
    let peer = Peer::start();
    let one = worker("twin").0.connect_to(peer.endpoint()).unwrap();
    let two = worker("twin").0.connect_to(peer.endpoint()).unwrap();
    assert_ne!(one.id(), two.id());
}

#[test]
fn malformed_registrations_are_refused_at_once() {
    let long = "x".repeat(120);
    for name in ["", "a b", "a/b", "ä", "a\n", long.as_str()] {
        let problem = Worker::builder(name).connect().expect_err(name);
        assert_eq!(problem.code, Code::InvalidArgument, "{name}");
    }
    for builder in [
        Worker::builder("a").group("a\nb"),
        Worker::builder("a").label("", "b"),
        Worker::builder("a").label("a", "b\0"),
        Worker::builder("a").label("a", "b".repeat(300)),
    ] {
        assert_eq!(builder.connect().expect_err("malformed").code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_found_when_it_comes() {
    let mut peer = Peer::start();
    peer.stop();
    let worker = worker("early").0.connect_to(peer.endpoint()).unwrap();
    assert_eq!(worker.state(), State::Connecting);
    peer.again();
    let _session = peer.attached().await;
    eventually("attached", || worker.state() == State::Attached { connection_id: 1 }).await;
}

#[tokio::test]
async fn a_permanent_refusal_is_final_and_says_why() {
    let mut peer = Peer::start();
    let worker = worker("unwanted").0.connect_to(peer.endpoint()).unwrap();
    let session = peer.session().await;
    let problem = chaos_kitty_worker::Problem::new(Code::ProtocolVersion, "too old");
    session.send(Down::Refusal(Refusal { problem: Some(problem.clone().into()), permanent: true })).await;
    eventually("refused", || worker.state() == State::Refused(problem.clone())).await;
    drop(session);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(peer.waiting(), 0);
}

#[tokio::test]
async fn dropping_a_worker_ends_its_faults_reports_them_and_says_goodbye() {
    let mut peer = Peer::start();
    let (builder, points) = worker("leaver");
    let worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::error(LONG, actions::boom())).await;
    session.report(&id, ActionState::Started).await;
    let dropped = tokio::task::spawn_blocking(|| drop(worker));
    let report = session.report(&id, ActionState::Reverted).await;
    assert_eq!(report.end_reason(), EndReason::Shutdown);
    assert!(matches!(session.message().await, Some(Up::Goodbye(Goodbye { process_ended: false, .. }))));
    drop(session);
    soon("drop", dropped).await.unwrap();
    assert_eq!(points.inject("any"), Ok(()));
}

#[tokio::test]
async fn renewals_are_answered_with_their_number_and_carry_a_fault_beyond_its_first_lease() {
    let mut peer = Peer::start();
    let _worker = worker("leased").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.session().await;
    session.welcome(Duration::from_secs(2), &[]).await;
    let id = session.start(actions::error(Duration::from_secs(3), actions::boom())).await;
    session.report(&id, ActionState::Started).await;
    for number in 1..=5 {
        assert_eq!(session.renew(number, number - 1).await, number);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let report = session.report(&id, ActionState::Reverted).await;
    assert_eq!(report.end_reason(), EndReason::Deadline);
}

#[tokio::test]
async fn what_was_not_taken_in_comes_again_and_what_is_known_goes_on() {
    let mut peer = Peer::start();
    let (builder, points) = worker("again");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let kept = session.start(actions::error(LONG, actions::boom())).await;
    let stray = session.start(actions::cpu(LONG, 1, 1)).await;
    let last = session.report(&kept, ActionState::Started).await.sequence;
    let last = session.report(&stray, ActionState::Started).await.sequence.max(last);
    session.taken(last).await;
    assert!(session.answers(1).await);
    drop(session);

    let mut session = peer.session().await;
    let held = session.hello.held.clone();
    for id in [&kept, &stray] {
        let report = held.iter().find(|report| report.action_id == *id).unwrap();
        assert_eq!(report.state(), ActionState::Started);
        assert!(report.action.is_some() && report.remaining.is_some());
    }
    session.welcome(LEASE, std::slice::from_ref(&kept)).await;
    session.report(&stray, ActionState::Reverted).await;
    assert!(points.inject("any").is_err());
    drop(session);

    let session = peer.session().await;
    let again = session.hello.held.iter().find(|report| report.action_id == stray).unwrap();
    assert_eq!(again.state(), ActionState::Reverted);
}

#[tokio::test]
async fn a_worker_reaches_another_target_through_its_own_stream() {
    let mut peer = Peer::start();
    let worker = worker("caller").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    eventually("attached", || matches!(worker.state(), State::Attached { .. })).await;
    let request = UnleashRequest { source: "a friend".to_owned(), ..Default::default() };
    let mut updates = worker.unleash(request.clone()).await.unwrap();
    let (call, received) = session.invoke().await;
    assert_eq!(received, request);
    session.update(call, "x").await;
    assert_eq!(soon("an update", updates.next()).await.unwrap().unwrap().id, "x");
    session
        .send(Down::Invoked(v1::Invoked { call, kind: Some(v1::invoked::Kind::End(Default::default())) }))
        .await;
    assert!(soon("the end", updates.next()).await.is_none());
}

#[tokio::test]
async fn a_call_whose_connection_is_lost_ends_with_an_error_and_not_silently() {
    let mut peer = Peer::start();
    let worker = worker("cut").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    eventually("attached", || matches!(worker.state(), State::Attached { .. })).await;
    let mut updates = worker.unleash(UnleashRequest::default()).await.unwrap();
    session.invoke().await;
    drop(session);
    let problem = soon("an error", updates.next()).await.unwrap().unwrap_err();
    assert_eq!(problem.code, Code::ConnectionLost);
    assert!(soon("the end", updates.next()).await.is_none());
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_told_what_it_lost() {
    let mut peer = Peer::start();
    let worker = worker("sleepy").0.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    eventually("attached", || matches!(worker.state(), State::Attached { .. })).await;
    let mut updates = worker.unleash(UnleashRequest::default()).await.unwrap();
    let (call, _) = session.invoke().await;
    for number in 0..300 {
        session.update(call, &number.to_string()).await;
    }
    assert!(session.answers(1).await, "all of them have come");
    let mut read = 0;
    let problem = loop {
        match soon("the rest", updates.next()).await.unwrap() {
            Ok(_) => read += 1,
            Err(problem) => break problem,
        }
    };
    assert_eq!((problem.code, read), (Code::FellBehind, 256));
    assert!(soon("the end", updates.next()).await.is_none());
}
