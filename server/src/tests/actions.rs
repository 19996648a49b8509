use chaos_kitty::v1::action_state::Name as State;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_action_goes_from_its_order_to_its_end_and_is_in_the_store() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    assert_eq!((order.target_id.as_str(), order.action.clone()), ("worker/here/a", Some(delay(SECOND))));
    for state in [State::Accepted, State::Started, State::Reverted] {
        node.report(&order, state).await;
        let status = until_state(&mut updates, state).await;
        assert_eq!(status.source, "a test");
        assert!(status.acknowledged_in.is_some());
    }
    assert!(news(&mut updates).await.is_none());
    assert!(server.active().is_empty());
    let request = v1::ListActionsRequest::default();
    let listed = server.client().await.list_actions(request).await.unwrap().into_inner().actions;
    assert_eq!(listed.iter().map(v1::ActionStatus::state).collect::<Vec<_>>(), [State::Reverted]);
}

#[tokio::test]
async fn the_callers_trace_context_travels_with_the_order() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let choice = Some(Choice::Target("a".to_owned()));
    let mut request = tonic::Request::new(v1::UnleashRequest { choice, ..asked(delay(SECOND)) });
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    server.client().await.unleash(request).await.unwrap();
    assert_eq!(node.order().await.traceparent, trace);
}

#[tokio::test]
async fn bad_requests_are_refused_each_with_its_code_and_no_order_leaves() {
    let server = Server::start(Settings::default()).await;
    let node = server.worker("a", "g").await;
    let script = v1::RunScript { name: "rm.sh".to_owned(), ..Default::default() };
    let script = v1::Action { kind: Some(v1::action::Kind::Script(script)), ..delay(SECOND) };
    let spin = v1::SpinCpu { cores: 1, load: 101 };
    let spin = v1::Action { kind: Some(v1::action::Kind::Cpu(spin)), ..delay(SECOND) };
    let cases = [
        ("nobody", delay(SECOND), Code::NoSuchTarget),
        ("a", delay(Duration::ZERO), Code::InvalidArgument),
        ("a", delay(SECOND * 3601), Code::DurationTooLong),
        ("a", spin, Code::InvalidArgument),
        ("a", script, Code::NoSuchScript),
        ("process/here/a", delay(SECOND), Code::NoSuchTarget),
    ];
    for (target, action, expected) in cases {
        let refused = server.unleash(target, action).await.map(drop).unwrap_err();
        assert_eq!(refused.code, expected, "{refused}");
    }
    let selector = |platform: &str, group: &str| {
        let selector = v1::Selector {
            platform_type: platform.to_owned(),
            aggregation_identifier: group.to_owned(),
            ..Default::default()
        };
        v1::UnleashRequest { choice: Some(Choice::Selector(selector)), ..asked(delay(SECOND)) }
    };
    for (platform, group, expected) in [
        ("", "", Code::InvalidArgument),
        ("TeapotPlatform", "", Code::UnknownPlatform),
        ("", "unknown", Code::NoSuchTarget),
    ] {
        assert_eq!(server.ask(selector(platform, group)).await.map(drop).unwrap_err().code, expected);
    }
    assert!(server.active().is_empty());
    drop(node);
}

#[tokio::test]
async fn what_the_target_can_not_take_is_refused_with_what_it_can() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.stream().await;
    let actions = vec![v1::action_kind::Name::Kill.into()];
    node.send(agent_message::Kind::Hello(v1::Hello { actions, ..worker("a", "") })).await;
    node.welcome().await;
    server.until("it is a target", async || server.target("a").is_some()).await;
    let problem = server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err();
    assert_eq!(problem.code, Code::Unsupported);
    assert!(problem.hint.contains("kill"), "{problem}");
}

#[tokio::test]
async fn an_order_that_nobody_acknowledges_is_unknown_and_never_done() {
    let server = Server::start(quick()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    let unknown = until_state(&mut updates, State::Unknown).await;
    assert_eq!(code(&unknown), Some(Code::NoAnswer));
    // A late word settles it after all.
    node.report(&order, State::Reverted).await;
    until_state(&mut updates, State::Reverted).await;
}

#[tokio::test]
async fn an_order_that_is_never_acknowledged_is_settled_as_not_seen_once_it_must_be_over() {
    let server = Server::start(quick()).await;
    let node = server.worker("a", "g").await.idle();
    let mut updates = server.unleash("a", delay(Duration::from_millis(100))).await.unwrap();
    let settled = until_state(&mut updates, State::Failed).await;
    assert_eq!(code(&settled), Some(Code::NoAnswer));
    assert!(settled.problem.unwrap().message.contains("not seen"));
    assert!(!node.is_finished());
    assert!(server.active().is_empty());
}

#[tokio::test]
async fn a_hung_worker_does_not_silence_the_others() {
    let server = Server::start(quick()).await;
    let _hung = server.worker("hung", "").await;
    let mut well = server.worker("well", "").await;
    let mut stuck = server.unleash("hung", delay(SECOND)).await.unwrap();
    for _ in 0..5 {
        let mut updates = server.unleash("well", delay(SECOND)).await.unwrap();
        let order = well.order().await;
        well.report(&order, State::Started).await;
        well.report(&order, State::Reverted).await;
        until_state(&mut updates, State::Reverted).await;
    }
    assert_eq!(code(&until_state(&mut stuck, State::Unknown).await), Some(Code::NoAnswer));
}

#[tokio::test]
async fn a_second_fault_on_the_same_resource_is_refused_and_names_the_first() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    let _first = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    let problem = server.unleash("a", delay(SECOND)).await.map(drop).unwrap_err();
    assert_eq!(problem.code, Code::AlreadyHeld);
    assert!(problem.message.contains(&order.action_id), "{problem}");
    node.report(&order, State::Reverted).await;
    server.until("it is over", async || server.active().is_empty()).await;
    assert!(server.unleash("a", delay(SECOND)).await.is_ok());
}

#[tokio::test]
async fn somebody_of_a_group_is_left_alone_whoever_asks() {
    let server = Server::start(Settings::default()).await;
    let mut one = server.worker("one", "pair").await;
    let _two = server.worker("two", "pair").await;
    let mut updates = server.unleash("one", delay(SECOND)).await.unwrap();
    let order = one.order().await;
    assert_eq!(server.unleash("two", delay(SECOND)).await.map(drop).unwrap_err().code, Code::TooFewSurvivors);
    let selector = v1::Selector { aggregation_identifier: "pair".to_owned(), ..Default::default() };
    let by_group = v1::UnleashRequest {
        choice: Some(Choice::Selector(selector)),
        count: Some(2),
        ..asked(delay(SECOND))
    };
    assert_eq!(server.ask(by_group).await.map(drop).unwrap_err().code, Code::TooFewSurvivors);
    one.report(&order, State::Reverted).await;
    until_state(&mut updates, State::Reverted).await;
    assert!(server.unleash("two", delay(SECOND)).await.is_ok());
}

#[tokio::test]
async fn a_killed_target_counts_as_hurt_until_it_is_recycled() {
    let server = Server::start(Settings::default()).await;
    let mut one = server.worker("one", "pair").await;
    let _two = server.worker("two", "pair").await;
    let mut updates = server.unleash("one", kill()).await.unwrap();
    let order = one.order().await;
    let ended = v1::KillResult { ended: true, ..Default::default() };
    let result = Some(v1::ActionResult { kind: Some(v1::action_result::Kind::Kill(ended)) });
    let report = v1::ActionReport { state: State::Done.into(), result, ..one.about(&order) };
    one.report_more(report).await;
    until_state(&mut updates, State::Done).await;
    assert_eq!(server.unleash("two", kill()).await.map(drop).unwrap_err().code, Code::TooFewSurvivors);
}

#[tokio::test]
async fn stopping_an_action_answers_once_the_node_says_it_is_reverted() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let _updates = server.unleash("a", delay(SECOND * 60)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    let mut client = server.client().await;
    let stop = client.stop_action(v1::StopActionRequest { id: order.action_id.clone() });
    let reverting = async {
        let stopped = node.next().await;
        assert!(matches!(stopped, Ok(server_message::Kind::Stop(stop)) if stop.action_id == order.action_id));
        let reason = v1::end_reason::Name::Stopped.into();
        let report =
            v1::ActionReport { state: State::Reverted.into(), end_reason: reason, ..node.about(&order) };
        node.report_more(report).await;
    };
    let (status, ()) = tokio::join!(stop, reverting);
    assert_eq!(status.unwrap().into_inner().state(), State::Reverted);
    let unknown = v1::StopActionRequest { id: "nothing".to_owned() };
    let refused = server.client().await.stop_action(unknown).await.unwrap_err();
    assert_eq!(Problem::from(refused).code, Code::NoSuchAction);
}

#[tokio::test]
async fn a_worker_asks_for_an_action_on_another_through_its_stream() {
    let server = Server::start(Settings::default()).await;
    let mut asks = server.worker("asks", "").await;
    let mut takes = server.worker("takes", "").await;
    let request = v1::UnleashRequest {
        choice: Some(Choice::Target("takes".to_owned())),
        source: String::new(),
        ..asked(delay(SECOND))
    };
    asks.send(agent_message::Kind::Invoke(v1::Invoke { call: 7, request: Some(request) })).await;
    let order = takes.order().await;
    takes.report(&order, State::Reverted).await;
    let mut last = None;
    loop {
        let Ok(server_message::Kind::Invoked(update)) = asks.next().await else { panic!("no update") };
        assert_eq!(update.call, 7);
        match update.kind.unwrap() {
            v1::invoked::Kind::Update(status) => last = Some(status),
            v1::invoked::Kind::End(_) => break,
            v1::invoked::Kind::Problem(problem) => panic!("{problem:?}"),
        }
    }
    let last = last.unwrap();
    assert_eq!((last.state(), last.source.as_str()), (State::Reverted, "asks"));

    asks.send(agent_message::Kind::Invoke(v1::Invoke { call: 8, request: None })).await;
    let Ok(server_message::Kind::Invoked(update)) = asks.next().await else { panic!("no update") };
    assert!(matches!(update.kind, Some(v1::invoked::Kind::Problem(_))));
}

#[tokio::test]
async fn reports_on_another_nodes_action_are_ignored() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    let mut liar = server.worker("b", "").await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    liar.report(&order, State::Reverted).await;
    node.report(&order, State::Started).await;
    until_state(&mut updates, State::Started).await;
    assert_eq!(server.active().len(), 1);
}

/// The next message to a node, as it is.
async fn raw(node: &mut Node) -> server_message::Kind {
    let message = tokio::time::timeout(PATIENCE, node.inbound.message()).await.expect("a message in time");
    message.unwrap().expect("the stream goes on").kind.expect("a kind")
}

async fn renewal(node: &mut Node) -> u64 {
    loop {
        if let server_message::Kind::Renewal(renewal) = raw(node).await {
            return renewal.number;
        }
    }
}

#[tokio::test]
async fn a_stop_that_comes_before_its_order_has_left_ends_it_all_the_same() {
    let lease = Duration::from_secs(9);
    let server = Server::start(Settings { lease, ..Settings::default() }).await;
    let mut node = server.worker("a", "g").await;
    // Renewals of an idle node come so seldom that the last answer is too old by now to order anything.
    renewal(&mut node).await;
    let _updates = server.unleash("a", delay(Duration::from_secs(60))).await.unwrap();
    let asked = renewal(&mut node).await;
    let id = server.active()[0].id.clone();
    let mut client = server.client().await;
    let stopping = id.clone();
    tokio::spawn(async move { drop(client.stop_action(v1::StopActionRequest { id: stopping }).await) });
    assert!(matches!(raw(&mut node).await, server_message::Kind::Stop(stop) if stop.action_id == id));

    node.send(agent_message::Kind::Renewal(v1::LeaseRenewal { number: asked, ..Default::default() })).await;
    let order = raw(&mut node).await;
    assert!(matches!(order, server_message::Kind::Start(start) if start.action_id == id));
    assert!(matches!(raw(&mut node).await, server_message::Kind::Stop(stop) if stop.action_id == id));
}

#[tokio::test]
async fn what_waits_for_a_person_ends_the_stream_and_its_stop_answers_at_once() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    for state in [State::Accepted, State::Started, State::Stuck] {
        node.report(&order, state).await;
        until_state(&mut updates, state).await;
    }
    assert!(news(&mut updates).await.is_none());
    let request = v1::StopActionRequest { id: order.action_id.clone() };
    let stopped = server.client().await.stop_action(request).await.unwrap().into_inner();
    assert_eq!(stopped.state(), State::Stuck);
    assert_eq!(server.active().len(), 1, "it is there until somebody puts it back");
}

#[tokio::test]
async fn a_silent_stream_repeats_its_last_word() {
    let settings = Settings { heartbeat: Duration::from_millis(20), ..Settings::default() };
    let server = Server::start(settings).await;
    let mut node = server.worker("a", "g").await;
    let mut updates = server.unleash("a", delay(SECOND)).await.unwrap();
    let order = node.order().await;
    node.report(&order, State::Started).await;
    let started = until_state(&mut updates, State::Started).await;
    assert_eq!(news(&mut updates).await.unwrap(), started);
    let after = Some(v1::EventPosition::default());
    let request = v1::WatchEventsRequest { kinds: vec!["halted".to_owned()], after };
    let mut events = server.client().await.watch_events(request).await.unwrap().into_inner();
    let (first, second) =
        (events.message().await.unwrap().unwrap(), events.message().await.unwrap().unwrap());
    let epoch = |event: &v1::Event| match event.kind {
        Some(v1::event::Kind::Heartbeat(beat)) => beat.epoch,
        ref other => panic!("{other:?}"),
    };
    assert!(epoch(&first) == epoch(&second) && epoch(&first) > 0);
    let earlier = v1::EventPosition { epoch: epoch(&first), sequence: first.sequence - 1 };
    let request = v1::WatchEventsRequest { kinds: Vec::new(), after: Some(earlier) };
    let mut again = server.client().await.watch_events(request).await.unwrap().into_inner();
    let beat = again.message().await.unwrap().unwrap();
    assert!(matches!(beat.kind, Some(v1::event::Kind::Heartbeat(beat)) if beat.missed >= 1), "{beat:?}");
}
