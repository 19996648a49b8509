//! The server dies, stops and comes back while a fault is held.

use std::time::Duration;

use chaos_kitty::v1::{
    self, ActionStatus, GetActionRequest, HaltRequest, StopActionRequest, UnleashRequest,
    action_state::Name as State, halt_progress,
};
use chaos_kitty_tests::{Sandbox, Server, Shop, eventually};
use rustix::process::Signal;

fn errors() -> v1::Action {
    v1::Action {
        duration: Some(Duration::from_secs(60).into()),
        kind: Some(v1::action::Kind::Error(v1::RaiseError::default())),
    }
}

/// Errors in force on a worker; gives the id of the action.
async fn held(sandbox: &Sandbox, server: &Server) -> (Shop, String) {
    let shop = sandbox.shop("till", &server.address()).await;
    server.target("till").await;
    let request = UnleashRequest {
        action: Some(errors()),
        choice: Some(v1::unleash_request::Choice::Target("till".to_owned())),
        ..Default::default()
    };
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    loop {
        let status = updates.message().await.unwrap().expect("it begins");
        if status.state() == State::Started {
            return (shop, status.id);
        }
    }
}

async fn status(server: &Server, id: &str) -> ActionStatus {
    server.client().await.get_action(GetActionRequest { id: id.to_owned() }).await.unwrap().into_inner()
}

/// The fault is in force for the new server as it was for the old one, and ends when it is told to.
async fn goes_on(server: &Server, shop: &Shop, id: &str) {
    eventually("the worker is back and the action goes on", async || {
        (status(server, id).await.state() == State::Started).then_some(())
    })
    .await;
    assert_eq!(shop.request().await.unwrap().0, 500);
    let stop = StopActionRequest { id: id.to_owned() };
    let stopped = server.client().await.stop_action(stop).await.unwrap().into_inner();
    assert_eq!((stopped.state(), stopped.end_reason()), (State::Reverted, v1::end_reason::Name::Stopped));
    assert_eq!(shop.request().await.unwrap().0, 200);
}

#[tokio::test]
async fn a_fault_goes_on_when_the_server_is_killed_and_back_within_the_lease() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&["--lease", "60s"]).await;
    let (shop, id) = held(&sandbox, &server).await;
    let epoch = server.status().await.epoch;
    server.process.kill();
    let server = sandbox.server(&["--lease", "60s"]).await;
    assert!(server.status().await.epoch > epoch);
    goes_on(&server, &shop, &id).await;
}

#[tokio::test]
async fn a_fault_goes_on_when_the_server_is_replaced_in_good_order() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&["--lease", "60s"]).await;
    let (shop, id) = held(&sandbox, &server).await;
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.ended().await.code(), Some(0));
    let server = sandbox.server(&["--lease", "60s"]).await;
    goes_on(&server, &shop, &id).await;
}

#[tokio::test]
async fn a_halt_reverts_what_is_held_and_outlives_the_server() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&[]).await;
    let (shop, id) = held(&sandbox, &server).await;
    let mut progress = server.client().await.halt(HaltRequest::default()).await.unwrap().into_inner();
    let summary = loop {
        match progress.message().await.unwrap().expect("a summary").kind {
            Some(halt_progress::Kind::Summary(summary)) => break summary,
            Some(halt_progress::Kind::Action(action)) => assert_eq!(action.id, id),
            None => panic!("an empty message"),
        }
    };
    assert_eq!((summary.reverted, summary.left, summary.unreached.len()), (1, 0, 0));
    assert_eq!(shop.request().await.unwrap().0, 200);
    server.process.kill();
    let server = sandbox.server(&[]).await;
    assert!(server.status().await.halted);
    server.target("till").await;
    let refused = server.unleash("till", errors()).await.unwrap_err();
    assert_eq!(chaos_kitty::Problem::from(refused).code, chaos_kitty::Code::Halted);
}
