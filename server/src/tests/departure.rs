use agent_message::Kind;
use chaos_kitty::v1::{action_state::Name as State, end_reason::Name as Reason};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// An agent that relays for one worker, and the worker's order.
async fn with_relayed_order(
    server: &Server,
    action: v1::Action,
) -> (Node, v1::StartAction, Streaming<v1::ActionStatus>) {
    let mut relay = server.stream().await;
    relay.send(Kind::Hello(agent("relay"))).await;
    relay.welcome().await;
    let hello = v1::Hello { path: vec!["relay".to_owned()], pid: 77, verified: true, ..worker("a", "g") };
    relay.send_from("a", Kind::Hello(hello)).await;
    let (address, welcome) = relay.next_with_address().await.unwrap();
    assert!(address == "a" && matches!(welcome, server_message::Kind::Welcome(_)));
    server.until("it is a target", async || server.target("a").is_some()).await;
    let updates = server.unleash("a", action).await.unwrap();
    let (address, order) = relay.next_with_address().await.unwrap();
    let server_message::Kind::Start(order) = order else { panic!("no order: {order:?}") };
    assert_eq!(address, "a");
    (relay, order, updates)
}

fn report(order: &v1::StartAction, state: State, sequence: u64) -> Kind {
    let report = v1::ActionReport {
        action_id: order.action_id.clone(),
        state: state.into(),
        sequence,
        ..Default::default()
    };
    Kind::Reports(v1::ActionReports { reports: vec![report] })
}

#[tokio::test]
async fn the_caller_of_a_worker_that_dies_is_told_so_and_its_target_is_gone() {
    let server = Server::start(Settings::default()).await;
    let (relay, order, mut updates) = with_relayed_order(&server, delay(SECOND * 60)).await;
    relay.send_from("a", report(&order, State::Started, 1)).await;
    until_state(&mut updates, State::Started).await;
    let goodbye = v1::Goodbye { reason: "it was killed".to_owned(), process_ended: true };
    relay.send_from("a", Kind::Goodbye(goodbye)).await;
    let failed = until_state(&mut updates, State::Failed).await;
    assert_eq!((code(&failed), failed.end_reason()), (Some(Code::TargetGone), Reason::TargetGone));
    assert!(failed.problem.unwrap().message.contains("the worker's process ended"));
    assert!(news(&mut updates).await.is_none());
    let refused = server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err();
    assert_eq!(refused.code, Code::NoSuchTarget);
}

#[tokio::test]
async fn a_kill_whose_target_ended_is_done() {
    let server = Server::start(Settings::default()).await;
    let (relay, _, mut updates) = with_relayed_order(&server, kill()).await;
    relay.send_from("a", Kind::Goodbye(v1::Goodbye { process_ended: true, ..Default::default() })).await;
    let done = until_state(&mut updates, State::Done).await;
    let Some(v1::action_result::Kind::Kill(result)) = done.result.unwrap().kind else { panic!("no figures") };
    assert!(result.ended);
    assert_eq!((result.signal.as_str(), result.pids.as_slice()), ("TERM", [77].as_slice()));
}

#[tokio::test]
async fn a_lost_connection_leaves_the_action_unknown_until_the_lease_is_over() {
    let server = Server::start(quick()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    until_state(&mut updates, State::Started).await;
    drop(node);
    let unknown = until_state(&mut updates, State::Unknown).await;
    assert_eq!(code(&unknown), Some(Code::ConnectionLost));
    let refused = server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err();
    assert_eq!(refused.code, Code::AgentUnreachable);
    let settled = until_state(&mut updates, State::Failed).await;
    assert_eq!((code(&settled), settled.end_reason()), (Some(Code::NoAnswer), Reason::Lease));
    server.until("the node is forgotten", async || server.app.service().fleet.agents().is_empty()).await;
}

#[tokio::test]
async fn what_a_node_still_holds_when_it_comes_back_goes_on_and_what_is_not_the_servers_does_not() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    until_state(&mut updates, State::Started).await;
    drop(node);
    until_state(&mut updates, State::Unknown).await;
    let held = |id: &str| v1::ActionReport {
        action_id: id.to_owned(),
        sequence: 1,
        state: State::Started.into(),
        ..Default::default()
    };
    let mut again = server.stream().await;
    let held = vec![held(&order.action_id), held("somebody-elses")];
    again.send(Kind::Hello(v1::Hello { held, ..worker("a", "g") })).await;
    assert_eq!(again.welcome().await.known, [order.action_id]);
    until_state(&mut updates, State::Started).await;
}

#[tokio::test]
async fn an_action_that_was_to_be_stopped_does_not_go_on_when_its_node_comes_back() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    drop(node);
    until_state(&mut updates, State::Unknown).await;
    let stop = v1::StopActionRequest { id: order.action_id.clone() };
    let refused = server.client().await.stop_action(stop).await.unwrap_err();
    assert_eq!(Problem::from(refused).code, Code::AgentUnreachable);
    let mut again = server.stream().await;
    let held = v1::ActionReport { sequence: 1, state: State::Started.into(), ..again.about(&order) };
    again.send(Kind::Hello(v1::Hello { held: vec![held], ..worker("a", "g") })).await;
    assert!(again.welcome().await.known.is_empty());
}

#[tokio::test]
async fn what_ended_unreported_is_told_by_the_next_hello() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    drop(node);
    until_state(&mut updates, State::Unknown).await;
    let mut again = server.stream().await;
    let end = v1::ActionReport {
        sequence: 2,
        state: State::Reverted.into(),
        end_reason: Reason::Lease.into(),
        ..again.about(&order)
    };
    again.send(Kind::Hello(v1::Hello { held: vec![end], ..worker("a", "g") })).await;
    assert!(again.welcome().await.known.is_empty());
    assert_eq!(until_state(&mut updates, State::Reverted).await.end_reason(), Reason::Lease);
}

#[tokio::test]
async fn an_order_that_never_arrived_is_settled_when_its_node_comes_back_without_it() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    node.order().await;
    drop(node);
    until_state(&mut updates, State::Unknown).await;
    let _again = server.worker("a", "g").await;
    let settled = until_state(&mut updates, State::Failed).await;
    assert!(settled.problem.unwrap().message.contains("did not arrive"));
}

#[tokio::test]
async fn a_node_that_answers_nothing_for_a_lease_is_cut_off_and_others_are_not() {
    let server = Server::start(quick()).await;
    let well = server.worker("well", "").await.idle();
    let mut silent = server.worker("silent", "").await;
    silent.silent = true;
    assert_eq!(silent.refusal().await.code, Code::ConnectionLost);
    assert!(server.target("silent").is_none() && server.target("well").is_some());
    assert!(!well.is_finished());
}

#[tokio::test]
async fn after_a_restart_what_was_under_way_is_unknown_until_its_agent_is_back() {
    let store = Store::in_memory().unwrap();
    let order = {
        let server = Server::on(Settings::default(), store.clone()).await;
        let mut node = server.worker("a", "").await;
        let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
        let order = node.order().await;
        node.report(&order, State::Started).await;
        until_state(&mut updates, State::Started).await;
        order
    };
    let server = Server::on(Settings::default(), store).await;
    let states = |server: &Server| server.active().iter().map(v1::ActionStatus::state).collect::<Vec<_>>();
    assert_eq!(states(&server), [State::Unknown]);
    let mut again = server.stream().await;
    let held = v1::ActionReport { sequence: 1, state: State::Started.into(), ..again.about(&order) };
    again.send(Kind::Hello(v1::Hello { held: vec![held], ..worker("a", "") })).await;
    assert_eq!(again.welcome().await.known, [order.action_id]);
    assert_eq!(states(&server), [State::Started]);
}

#[tokio::test]
async fn after_a_restart_a_lone_target_waits_for_agents_that_may_come_back() {
    let store = Store::in_memory().unwrap();
    {
        let server = Server::on(quick(), store.clone()).await;
        let mut node = server.worker("a", "g").await;
        let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
        let order = node.order().await;
        node.report(&order, State::Reverted).await;
        until_state(&mut updates, State::Reverted).await;
    }
    let server = Server::on(quick(), store).await;
    let _node = server.worker("a", "g").await.idle();
    assert_eq!(server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err().code, Code::Settling);
    server.until("a lease has passed", async || server.unleash("a", delay(SECOND)).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_stops_admits_nothing_and_lets_its_nodes_come_back_to_the_next_one() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    server.app.drain().await;
    assert_eq!(server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err().code, Code::Stopping);
    let status = node.next().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let mut late = server.stream().await;
    late.send(Kind::Hello(worker("b", ""))).await;
    assert_eq!(late.refusal().await.code, Code::Stopping);
}

#[tokio::test]
async fn a_server_that_halts_on_exit_reverts_first_and_is_not_halted_afterwards() {
    let server = Server::start(Settings { halt_on_exit: true, ..Settings::default() }).await;
    let mut node = server.worker("a", "g").await;
    let _updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    let reverting = async {
        assert!(matches!(node.next().await, Ok(server_message::Kind::RevertAll(_))));
        node.report(&order, State::Reverted).await;
        while node.next().await.is_ok() {}
    };
    tokio::join!(server.app.drain(), reverting);
    assert!(server.active().is_empty());
    assert!(server.app.service().gate.halted_at().is_none());
}
