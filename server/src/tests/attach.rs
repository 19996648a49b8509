use agent_message::Kind;

use super::*;

#[tokio::test]
async fn a_worker_is_welcomed_with_a_sequential_id_and_is_a_target() {
    let server = Server::start(Settings::default()).await;
    let mut first = Server::stream_over(&server.unix).await;
    first.send(Kind::Hello(worker("a", "g"))).await;
    let welcome = first.welcome().await;
    assert_eq!((welcome.connection_id, welcome.latched, welcome.known.len()), (1, false, 0));
    assert_eq!(welcome.lease, Some(Duration::from_secs(15).into()));
    let mut second = server.stream().await;
    second.send(Kind::Hello(worker("b", "g"))).await;
    assert_eq!(second.welcome().await.connection_id, 2);

    server.until("both are targets", async || server.target("b").is_some()).await;
    let target = server.target("a").unwrap();
    assert_eq!(target.pids, [std::process::id()], "the socket's word, not the claim");
    let target = server.target("b").unwrap();
    assert!(target.pids.is_empty() && target.incarnation == "b", "over TCP a claim is no fact");
    let agents = server
        .client()
        .await
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .agents;
    assert_eq!(agents.iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn what_is_not_a_proper_hello_ends_its_own_stream_with_a_clear_status_and_disturbs_nobody() {
    let server = Server::start(Settings::default()).await;
    let good = server.worker("good", "g").await;
    let cases = [
        (Kind::Pong(v1::Pong { number: 1 }), Code::ProtocolViolation),
        (Kind::Hello(v1::Hello { protocol_versions: vec![99], ..worker("x", "") }), Code::ProtocolVersion),
        (Kind::Hello(worker("a/b", "")), Code::InvalidArgument),
        (Kind::Hello(v1::Hello { path: vec!["r".to_owned()], ..worker("x", "") }), Code::ProtocolViolation),
    ];
    for (first, expected) in cases {
        let mut node = server.stream().await;
        node.send(first.clone()).await;
        assert_eq!(node.refusal().await.code, expected, "{first:?}");
    }
    let mut twice = server.worker("twice", "").await;
    twice.send(Kind::Hello(worker("twice", ""))).await;
    assert_eq!(twice.refusal().await.code, Code::ProtocolViolation);
    server.until("its target is gone", async || server.target("twice").is_none()).await;

    let good = good.idle();
    assert!(server.target("good").is_some());
    assert!(!good.is_finished());
}

#[tokio::test]
async fn a_message_over_the_limit_ends_its_stream_and_no_other() {
    let server = Server::start(Settings::default()).await;
    let good = server.worker("good", "g").await.idle();
    let mut node = server.worker("big", "g").await;
    node.send(Kind::Goodbye(v1::Goodbye { reason: "x".repeat(5 << 20), process_ended: false })).await;
    assert_eq!(node.refusal().await.code, Code::TooLarge);
    assert!(server.target("good").is_some());
    assert!(!good.is_finished());
}

#[tokio::test]
async fn an_answer_to_a_renewal_that_was_never_sent_is_a_violation() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    node.send(Kind::Renewal(v1::LeaseRenewal { number: 7, ..Default::default() })).await;
    assert_eq!(node.refusal().await.code, Code::ProtocolViolation);
}

#[tokio::test]
async fn a_second_node_of_an_id_is_refused_while_the_first_one_answers() {
    let server = Server::start(Settings::default()).await;
    let first = server.worker("clone", "g").await.idle();
    let mut second = server.stream().await;
    second.send(Kind::Hello(v1::Hello { boot_id: "another".to_owned(), ..worker("clone", "g") })).await;
    let problem = second.refusal().await;
    assert_eq!(problem.code, Code::DuplicateAgent);
    assert_eq!(problem.message.matches("on here").count(), 2, "both are named: {problem}");
    assert!(!first.is_finished());
    assert!(server.target("clone").is_some());
}

#[tokio::test]
async fn a_second_node_of_an_id_takes_the_place_of_one_that_does_not_answer() {
    let server = Server::start(Settings::default()).await;
    let mut first = server.worker("clone", "g").await;
    first.silent = true;
    let mut second = server.stream().await;
    second.send(Kind::Hello(v1::Hello { boot_id: "another".to_owned(), ..worker("clone", "g") })).await;
    let (told, welcome) = tokio::join!(first.refusal(), second.welcome());
    assert_eq!(told.code, Code::DuplicateAgent);
    assert_eq!(welcome.connection_id, 2);
    let idle = second.idle();
    server.until("the target is there", async || server.target("clone").is_some()).await;
    assert!(!idle.is_finished());
}

#[tokio::test]
async fn the_same_process_coming_again_takes_its_own_place_at_once_and_the_older_stream_is_told() {
    let server = Server::start(Settings::default()).await;
    let mut first = server.worker("again", "g").await;
    let second = server.worker("again", "g").await;
    assert_eq!(first.refusal().await.code, Code::DuplicateAgent);
    let second = second.idle();
    server.until("the target is there", async || server.target("again").is_some()).await;
    assert!(!second.is_finished());
}

fn listed(id: &str) -> v1::Target {
    v1::Target {
        id: id.to_owned(),
        incarnation: "1:1".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        aggregation_identifier: "nginx".to_owned(),
        name: id.rsplit('/').next().unwrap_or_default().to_owned(),
        host: "here".to_owned(),
        health: v1::target_health::State::Normal.into(),
        actions: vec![v1::action_kind::Name::Delay.into()],
        ..Default::default()
    }
}

fn ids(server: &Server) -> Vec<String> {
    let all = server.app.service().fleet.roster(&v1::Selector::default()).unwrap();
    all.iter().map(|target| target.id.clone()).collect()
}

#[tokio::test]
async fn a_full_list_in_parts_replaces_the_list_before_and_another_agents_targets_are_left_to_it() {
    let server = Server::start(Settings::default()).await;
    let mut one = server.stream().await;
    one.send(Kind::Hello(agent("one"))).await;
    one.welcome().await;
    let list = |full, complete, ids: &[&str]| {
        let upserted = ids.iter().map(|id| listed(id)).collect();
        Kind::Targets(v1::TargetsChanged { full, complete, upserted, ..Default::default() })
    };
    one.send(list(true, false, &["process/one/a:1"])).await;
    one.send(list(false, true, &["process/one/b:2"])).await;
    server.until("both are there", async || ids(&server).len() == 2).await;
    one.send(list(true, true, &["process/one/b:2", "process/one/c:3"])).await;
    server.until("one is replaced", async || ids(&server) == ["process/one/b:2", "process/one/c:3"]).await;

    let mut two = server.stream().await;
    two.send(Kind::Hello(agent("two"))).await;
    two.welcome().await;
    two.send(list(true, true, &["process/one/b:2", "process/two/d:4", "worker/x/y"])).await;
    server.until("the new one is there", async || ids(&server).len() == 3).await;
    assert_eq!(server.app.service().fleet.resolve("b:2").unwrap().agent_id, "one");
    let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.losses.get("targets_refused"), Some(&2));
}

#[tokio::test]
async fn the_epoch_is_raised_above_one_that_a_node_has_seen_of_this_server() {
    let server = Server::start(Settings::default()).await;
    let (ours, id) = {
        let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
        (status.epoch, status.server_id)
    };
    let mut foreign = server.stream().await;
    foreign
        .send(Kind::Hello(v1::Hello { epoch: ours + 500, server_id: "other".to_owned(), ..worker("f", "") }))
        .await;
    assert_eq!(foreign.welcome().await.epoch, ours);
    let mut own = server.stream().await;
    own.send(Kind::Hello(v1::Hello { epoch: ours + 1000, server_id: id, ..worker("o", "") })).await;
    assert_eq!(own.welcome().await.epoch, ours + 1001);
}

#[tokio::test]
async fn messages_of_a_node_that_was_never_attached_are_counted_and_change_nothing() {
    let server = Server::start(Settings::default()).await;
    let node = server.worker("a", "g").await;
    node.send_from("ghost", Kind::Pong(v1::Pong { number: 1 })).await;
    let node = node.idle();
    let counted = async || {
        let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
        status.losses.get("messages_of_unknown_nodes") == Some(&1)
    };
    server.until("it is counted", counted).await;
    assert!(!node.is_finished());
}
