use agent_message::Kind;
use chaos_kitty::v1::action_state::Name as State;

use super::*;

#[tokio::test]
async fn a_flood_of_small_messages_is_cut_off_and_others_are_served_meanwhile() {
    let server = Server::start(Settings::default()).await;
    let mut well = server.worker("well", "").await;
    let flood = server.worker("flood", "").await;
    let sender = flood.sender.clone();
    let flooding = tokio::spawn(async move {
        let pong = v1::AgentMessage { node: String::new(), kind: Some(Kind::Pong(v1::Pong { number: 9 })) };
        while sender.send(pong.clone()).await.is_ok() {}
    });
    let mut updates = server.unleash("well", delay(Duration::from_secs(1))).await.unwrap();
    let order = well.order().await;
    well.report(&order, State::Reverted).await;
    until_state(&mut updates, State::Reverted).await;
    let mut flood = flood;
    assert_eq!(flood.refusal().await.code, Code::FellBehind);
    drop(flood);
    flooding.await.unwrap();
    assert!(server.target("well").is_some());
}

#[tokio::test]
async fn a_watcher_that_does_not_read_harms_nobody_and_is_told_that_it_lost_events() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.client().await;
    let mut watch = client.watch_events(v1::WatchEventsRequest::default()).await.unwrap().into_inner();
    let bus = server.app.service().bus.clone();
    for _ in 0..200 {
        for _ in 0..100 {
            let halted = v1::event::Halted { reason: "x".repeat(100), source: String::new() };
            bus.publish(v1::event::Kind::Halted(halted), "");
        }
        tokio::task::yield_now().await;
    }
    let problem = loop {
        match tokio::time::timeout(PATIENCE, watch.message()).await.unwrap() {
            Ok(event) => assert!(event.is_some(), "it ended without a word"),
            Err(status) => break Problem::from(status),
        }
    };
    assert_eq!(problem.code, Code::FellBehind);
    assert!(problem.message.contains("lost"), "{problem}");
}

#[tokio::test]
async fn events_come_as_they_happen_and_only_those_asked_for() {
    let server = Server::start(Settings::default()).await;
    let kinds = vec!["target_added".to_owned(), "target_removed".to_owned()];
    let mut client = server.client().await;
    let mut watch =
        client.watch_events(v1::WatchEventsRequest { kinds, after: None }).await.unwrap().into_inner();
    let node = server.worker("a", "").await;
    let added = watch.message().await.unwrap().unwrap();
    assert!(matches!(added.kind, Some(v1::event::Kind::TargetAdded(target)) if target.name == "a"));
    drop(node);
    let removed = watch.message().await.unwrap().unwrap();
    assert!(matches!(removed.kind, Some(v1::event::Kind::TargetRemoved(target)) if target.name == "a"));
}

#[tokio::test]
async fn a_node_that_does_not_read_its_orders_is_cut_off() {
    let server = Server::start(Settings::default()).await;
    let _deaf = server.worker("deaf", "").await;
    let well = server.worker("well", "").await.idle();
    let fleet = server.app.service().fleet.clone();
    let attached = || fleet.agents().iter().any(|agent| agent.id == "deaf" && agent.connected);
    server
        .until("it is cut off", async || {
            for _ in 0..200 {
                fleet.stop("deaf", &"x".repeat(1000));
            }
            !attached()
        })
        .await;
    assert!(!well.is_finished());
}
