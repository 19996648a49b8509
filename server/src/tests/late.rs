//! What nodes say of actions when nobody expects it any more.

use agent_message::Kind;
use chaos_kitty::v1::{action_state::Name as State, end_reason::Name as Reason};

use super::*;
use crate::fleet::Ledger as _;

const SECOND: Duration = Duration::from_secs(1);

async fn get(server: &Server, id: &str) -> v1::ActionStatus {
    let request = v1::GetActionRequest { id: id.to_owned() };
    server.client().await.get_action(request).await.unwrap().into_inner()
}

/// How it ended, with what was seen.
fn reverted(order: &v1::StartAction, sequence: u64) -> v1::ActionReport {
    let seen = v1::Evidence { what: "process state".to_owned(), value: "S".to_owned(), ..Default::default() };
    v1::ActionReport {
        action_id: order.action_id.clone(),
        target_id: order.target_id.clone(),
        state: State::Reverted.into(),
        end_reason: Reason::Lease.into(),
        evidence: vec![seen],
        sequence,
        ..Default::default()
    }
}

/// An action whose node was cut off, and which was settled without a word of it.
async fn assumed(server: &Server) -> v1::StartAction {
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    until_state(&mut updates, State::Started).await;
    drop(node);
    let settled = until_state(&mut updates, State::Failed).await;
    assert!(settled.assumed && settled.problem.unwrap().message.contains("not seen"));
    order
}

async fn comes_back_with(server: &Server, held: v1::ActionReport) -> (Node, v1::Welcome) {
    let mut again = server.stream().await;
    again.send(Kind::Hello(v1::Hello { held: vec![held], ..worker("a", "g") })).await;
    let welcome = again.welcome().await;
    (again, welcome)
}

#[tokio::test]
async fn what_was_assumed_is_settled_for_good_by_the_nodes_own_report() {
    let server = Server::start(quick()).await;
    let order = assumed(&server).await;
    let (mut node, _) = comes_back_with(&server, reverted(&order, 1)).await;
    let settled = get(&server, &order.action_id).await;
    assert_eq!((settled.state(), settled.end_reason()), (State::Reverted, Reason::Lease));
    assert!(!settled.assumed && settled.problem.is_none() && settled.evidence.len() == 1, "{settled:?}");
    // Nothing revises what the node itself has said.
    node.sequence = 1;
    node.report(&order, State::Failed).await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let next = node.order().await;
    node.report(&next, State::Reverted).await;
    until_state(&mut updates, State::Reverted).await;
    assert_eq!(get(&server, &order.action_id).await, settled);
}

#[tokio::test]
async fn what_was_assumed_before_a_restart_is_settled_by_a_report_after_it() {
    let store = Store::in_memory().unwrap();
    let order = {
        let server = Server::on(quick(), store.clone()).await;
        assumed(&server).await
    };
    let server = Server::on(quick(), store).await;
    assert!(get(&server, &order.action_id).await.assumed);
    let _back = comes_back_with(&server, reverted(&order, 1)).await;
    let settled = get(&server, &order.action_id).await;
    assert_eq!((settled.state(), settled.assumed), (State::Reverted, false));
}

#[tokio::test]
async fn what_a_node_still_holds_although_it_was_given_up_is_shown_again_and_ended() {
    let server = Server::start(quick()).await;
    let order = assumed(&server).await;
    let held = v1::ActionReport { state: State::Started.into(), ..reverted(&order, 1) };
    let (mut node, welcome) = comes_back_with(&server, held).await;
    assert!(welcome.known.is_empty(), "the node is to revert it");
    assert_eq!(server.active().iter().map(v1::ActionStatus::state).collect::<Vec<_>>(), [State::Started]);
    node.report_more(reverted(&order, 0)).await;
    node.report_more(reverted(&order, 0)).await;
    server.until("it is over", async || server.active().is_empty()).await;
    assert_eq!(get(&server, &order.action_id).await.state(), State::Reverted);
}

#[tokio::test]
async fn what_is_stuck_on_a_node_is_shown_with_its_hint_until_the_node_no_longer_names_it() {
    let server = Server::start(quick()).await;
    let id = "0190a5d2-9f6e-7cc3-98c4-dc0c0c07398f";
    let problem = Problem::new(Code::Stuck, "it could not be put back").hint("kill -CONT 7");
    let stuck = v1::ActionReport {
        action_id: id.to_owned(),
        target_id: "worker/here/a".to_owned(),
        state: State::Stuck.into(),
        problem: Some(problem.into()),
        action: Some(delay(SECOND)),
        sequence: 1,
        ..Default::default()
    };
    let (node, _) = comes_back_with(&server, stuck.clone()).await;
    let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    let [shown] = &status.active[..] else { panic!("{:?}", status.active) };
    assert_eq!(
        (shown.id.as_str(), shown.state(), shown.action.clone()),
        (id, State::Stuck, stuck.action.clone())
    );
    assert_eq!(shown.problem.as_ref().unwrap().hint, "kill -CONT 7");
    server.until("it is a target", async || server.target("a").is_some()).await;
    let held = server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err();
    assert_eq!(held.code, Code::AlreadyHeld, "its target is hurt");
    drop(node);
    server.until("it is gone", async || server.target("a").is_none()).await;
    assert_eq!(get(&server, id).await.state(), State::Stuck, "it stays so while its node is away");
    let again = server.worker("a", "g").await;
    server.until("it is cleared", async || server.active().is_empty()).await;
    assert!(get(&server, id).await.problem.unwrap().message.contains("no longer names it"));
    drop(again);
}

#[tokio::test]
async fn a_report_of_an_attachment_that_is_over_revives_nothing() {
    let server = Server::start(quick()).await;
    let mut first = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = first.order().await;
    // As a thread has it that was held up between taking the message from the stream and taking it in.
    let (node, actions) = (server.app.service().fleet.node("a"), server.app.service().actions.clone());
    drop(first);
    let started = v1::ActionReport { state: State::Started.into(), ..reverted(&order, 1) };
    until_state(&mut updates, State::Unknown).await;
    actions.reported(&node, vec![started.clone()]);
    assert_eq!(get(&server, &order.action_id).await.state(), State::Unknown);

    let _again = server.worker("a", "g").await;
    until_state(&mut updates, State::Failed).await;
    actions.reported(&node, vec![started]);
    assert_eq!(get(&server, &order.action_id).await.state(), State::Failed);
    assert!(server.active().is_empty());
}
