use chaos_kitty::v1::{action_state::Name as State, halt_progress};

use super::*;

const LONG: Duration = Duration::from_secs(60);

async fn halt(server: &Server) -> (Vec<v1::ActionStatus>, halt_progress::Summary) {
    let request = v1::HaltRequest { reason: "fire".to_owned(), source: "a test".to_owned() };
    let mut progress = server.client().await.halt(request).await.unwrap().into_inner();
    let mut actions = Vec::new();
    loop {
        match progress.message().await.unwrap().expect("a summary").kind.unwrap() {
            halt_progress::Kind::Action(status) => actions.push(status),
            halt_progress::Kind::Summary(summary) => return (actions, summary),
        }
    }
}

#[tokio::test]
async fn a_halt_reverts_what_is_in_force_and_admits_nothing_until_it_is_resumed() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    let _updates = server.unleash("a", delay(LONG)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    let reverting = async {
        assert!(matches!(node.next().await, Ok(server_message::Kind::RevertAll(_))));
        node.report(&order, State::Reverted).await;
        // The Ping that follows is answered on the way to the next message, of which there is none.
        node.next().await
    };
    let (actions, summary) = tokio::select! {
        halted = halt(&server) => halted,
        other = reverting => panic!("{other:?}"),
    };
    assert_eq!(actions.iter().map(v1::ActionStatus::state).collect::<Vec<_>>(), [State::Reverted]);
    assert_eq!((summary.reverted, summary.ended, summary.left, summary.unreached.len()), (1, 0, 0, 0));

    assert_eq!(server.unleash("a", delay(LONG)).await.map(drop).unwrap_err().code, Code::Halted);
    let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.halted && status.halted_at.is_some());

    let mut late = server.stream().await;
    late.send(agent_message::Kind::Hello(worker("late", ""))).await;
    assert!(late.welcome().await.latched);
    let resumed = server.client().await.resume(v1::ResumeRequest::default()).await.unwrap().into_inner();
    assert!(resumed.was_halted);
    assert!(matches!(late.next().await, Ok(server_message::Kind::Unlatch(_))));
    assert!(server.unleash("late", delay(LONG)).await.is_ok());
    let again = server.client().await.resume(v1::ResumeRequest::default()).await.unwrap().into_inner();
    assert!(!again.was_halted);
}

#[tokio::test]
async fn a_halt_names_who_could_not_be_reached_and_when_its_lease_ends_it() {
    let server = Server::start(Settings { lease: Duration::from_secs(60), ..quick() }).await;
    let mut node = server.worker("mute", "").await;
    let mut updates = server.unleash("mute", delay(LONG)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    until_state(&mut updates, State::Started).await;
    let (actions, summary) = halt(&server).await;
    assert_eq!(actions.len(), 1);
    assert_eq!((summary.reverted, summary.left), (0, 1));
    let [unreached] = &summary.unreached[..] else { panic!("{summary:?}") };
    assert_eq!((unreached.agent_id.as_str(), unreached.active), ("mute", 1));
    assert!(unreached.ends_at.is_some());
    drop(node);
}

#[tokio::test]
async fn a_halt_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { latch: Some(folder.path().join("halted")), ..Settings::default() };
    {
        let server = Server::start(settings.clone()).await;
        let (_, summary) = halt(&server).await;
        assert_eq!(summary.left, 0);
    }
    let server = Server::start(settings).await;
    let mut node = server.stream().await;
    node.send(agent_message::Kind::Hello(worker("a", ""))).await;
    assert!(node.welcome().await.latched);
    server.until("it is a target", async || server.target("a").is_some()).await;
    assert_eq!(server.unleash("a", delay(LONG)).await.map(drop).unwrap_err().code, Code::Halted);
}

#[tokio::test]
async fn a_node_that_is_latched_by_an_earlier_halt_is_unlatched_when_nothing_is_halted() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.stream().await;
    node.send(agent_message::Kind::Hello(v1::Hello { latched: true, ..worker("a", "") })).await;
    assert!(!node.welcome().await.latched);
    assert!(matches!(node.next().await, Ok(server_message::Kind::Unlatch(_))));
}
