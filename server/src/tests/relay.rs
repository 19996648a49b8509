use agent_message::Kind;
use chaos_kitty::v1::action_state::Name as State;

use super::*;

/// An agent with workers behind it, at one and at two hops.
async fn relay(server: &Server) -> Node {
    let mut relay = server.stream().await;
    relay.send(Kind::Hello(agent("near"))).await;
    relay.welcome().await;
    for (id, path) in [("one-hop", vec!["near"]), ("two-hops", vec!["far", "near"])] {
        let path = path.into_iter().map(str::to_owned).collect();
        relay.send_from(id, Kind::Hello(v1::Hello { path, ..worker(id, "g") })).await;
        let (address, welcome) = relay.next_with_address().await.unwrap();
        assert!(address == id && matches!(welcome, server_message::Kind::Welcome(_)));
    }
    server.until("both are targets", async || server.target("two-hops").is_some()).await;
    relay
}

#[tokio::test]
async fn orders_reach_nodes_behind_relays_by_their_address() {
    let server = Server::start(Settings::default()).await;
    let mut relay = relay(&server).await;
    let mut updates = server.unleash("two-hops", delay(Duration::from_secs(1))).await.unwrap();
    let (address, order) = relay.next_with_address().await.unwrap();
    let server_message::Kind::Start(order) = order else { panic!("{order:?}") };
    assert_eq!(address, "two-hops");
    let report = v1::ActionReport { state: State::Reverted.into(), sequence: 1, ..relay.about(&order) };
    relay.send_from("two-hops", Kind::Reports(v1::ActionReports { reports: vec![report] })).await;
    until_state(&mut updates, State::Reverted).await;
    let agents = server.app.service().fleet.agents();
    let path = |id: &str| agents.iter().find(|agent| agent.id == id).unwrap().path.clone();
    assert_eq!((path("near").len(), path("one-hop").len(), path("two-hops").len()), (0, 1, 2));
}

#[tokio::test]
async fn a_relayed_node_that_is_refused_disturbs_neither_its_relay_nor_its_neighbours() {
    let server = Server::start(Settings::default()).await;
    let mut relay = relay(&server).await;
    let looped =
        v1::Hello { path: vec!["near".to_owned(), "x".to_owned(), "near".to_owned()], ..worker("l", "") };
    let newer = v1::Hello { path: vec!["near".to_owned()], protocol_versions: vec![2], ..worker("l", "") };
    let forged = v1::Hello { path: vec!["other".to_owned()], ..worker("l", "") };
    for (hello, expected) in
        [(looped, Code::RelayLoop), (newer, Code::ProtocolVersion), (forged, Code::ProtocolViolation)]
    {
        relay.send_from("l", Kind::Hello(hello)).await;
        let (address, refusal) = relay.next_with_address().await.unwrap();
        let server_message::Kind::Refusal(refusal) = refusal else { panic!("{refusal:?}") };
        assert_eq!((address.as_str(), refusal.permanent), ("l", true));
        assert_eq!(refusal.problem.unwrap().code, expected.number());
    }
    assert!(server.target("one-hop").is_some() && server.target("two-hops").is_some());
}

#[tokio::test]
async fn when_a_relay_is_lost_all_behind_it_are() {
    let server = Server::start(Settings::default()).await;
    drop(relay(&server).await);
    server.until("all are gone", async || server.app.service().fleet.target_count() == 0).await;
}

#[tokio::test]
async fn a_worker_can_not_relay() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    node.send_from("b", Kind::Hello(v1::Hello { path: vec!["a".to_owned()], ..worker("b", "") })).await;
    assert_eq!(node.refusal().await.code, Code::ProtocolViolation);
}

#[tokio::test]
async fn a_relayed_node_that_answers_nothing_for_a_lease_may_come_back_at_once() {
    let server = Server::start(quick()).await;
    let mut relay = relay(&server).await;
    relay.deaf_to = Some("two-hops");
    let (address, refusal) = relay.next_with_address().await.unwrap();
    let server_message::Kind::Refusal(refusal) = refusal else { panic!("{refusal:?}") };
    assert_eq!((address.as_str(), refusal.permanent), ("two-hops", false));
    let path = vec!["far".to_owned(), "near".to_owned()];
    relay.send_from("two-hops", Kind::Hello(v1::Hello { path, ..worker("two-hops", "g") })).await;
    let (_, welcome) = relay.next_with_address().await.unwrap();
    assert!(matches!(welcome, server_message::Kind::Welcome(_)));
}
