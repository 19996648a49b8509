//! Steps of experiments, and the contents of scripts that orders name.

use chaos_kitty::script::hash;
use v1::{RunScript, StepResult, run_step, target_health};

use super::*;
use crate::fleet::Fleet;

const STEP: &str = "suite-1/recycle/1";

async fn step(server: &Server, node: &str, kind: run_step::Kind) -> Result<StepResult, Problem> {
    run(server.app.service().fleet.clone(), &server.target(node).unwrap(), kind).await
}

async fn run(fleet: Arc<Fleet>, target: &v1::Target, kind: run_step::Kind) -> Result<StepResult, Problem> {
    fleet.step(target, STEP.to_owned(), kind, Duration::from_millis(200)).await
}

fn recycle() -> run_step::Kind {
    run_step::Kind::Recycle(run_step::Recycle {})
}

fn health_check(hash: &str) -> run_step::Kind {
    run_step::Kind::Script(run_step::ScriptCommand { hash: hash.to_owned(), ..Default::default() })
}

impl Node {
    async fn step(&mut self) -> v1::RunStep {
        match self.next().await {
            Ok(server_message::Kind::Step(step)) => step,
            other => panic!("no step: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_step_reaches_its_target_once_and_its_answer_comes_back() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    let played = tokio::spawn(async move {
        let order = node.step().await;
        for id in ["another/step/1", STEP, STEP] {
            let result =
                StepResult { step_id: id.to_owned(), output: "well".to_owned(), ..Default::default() };
            node.send(agent_message::Kind::Step(result)).await;
        }
        (node, order)
    });
    let result = step(&server, "a", recycle()).await.unwrap();
    assert_eq!((result.step_id.as_str(), result.output.as_str()), (STEP, "well"));
    let (_node, order) = played.await.unwrap();
    let target = server.target("a").unwrap();
    assert_eq!((order.target_id, order.incarnation), (target.id.clone(), target.incarnation.clone()));
    assert_eq!((order.epoch, order.kind), (server.app.service().fleet.epoch(), Some(recycle())));
    let unwanted = || server.app.service().fleet.losses.all().get("step_results_unwanted").copied();
    server.until("answers that nobody waits for are counted", async || unwanted() == Some(2)).await;
}

#[tokio::test]
async fn a_step_without_an_answer_has_an_unknown_outcome_and_one_whose_node_is_lost_says_so() {
    let server = Server::start(quick()).await;
    let silent = server.worker("silent", "").await.idle();
    assert_eq!(step(&server, "silent", recycle()).await.unwrap_err().code, Code::OutcomeUnknown);
    silent.abort();

    let mut node = server.worker("lost", "").await;
    let target = server.target("lost").unwrap();
    let played = tokio::spawn(async move { drop(node.step().await) });
    assert_eq!(step(&server, "lost", recycle()).await.unwrap_err().code, Code::ConnectionLost);
    played.await.unwrap();
    let fleet = server.app.service().fleet.clone();
    assert_eq!(run(fleet, &target, recycle()).await.unwrap_err().code, Code::AgentUnreachable);
}

#[tokio::test]
async fn a_step_for_another_incarnation_or_a_script_that_there_is_not_is_never_sent() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.worker("a", "").await;
    let target = server.target("a").unwrap();
    let earlier = v1::Target { incarnation: "7:0".to_owned(), ..(*target).clone() };
    let fleet = server.app.service().fleet.clone();
    assert_eq!(run(fleet.clone(), &earlier, recycle()).await.unwrap_err().code, Code::Recycled);
    assert_eq!(step(&server, "a", health_check("0")).await.unwrap_err().code, Code::NoSuchScript);
    // Whichever incarnation it is in: the first that the node hears of.
    let whichever = v1::Target { incarnation: String::new(), ..(*target).clone() };
    let asked = tokio::spawn(async move { run(fleet, &whichever, recycle()).await });
    assert_eq!(node.step().await.incarnation, "");
    drop(node);
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_scripts_content_comes_once_on_a_stream_before_the_first_order_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let text = "#!/bin/sh\n# Health check: true\n# Self healing: true\n";
    std::fs::write(folder.path().join("own.sh"), text).unwrap();
    let server =
        Server::start(Settings { scripts_dir: Some(folder.path().to_owned()), ..Settings::default() }).await;
    // Behind a relay it is the same, with the node's address.
    let mut relay = server.stream().await;
    relay.send(agent_message::Kind::Hello(agent("relay"))).await;
    relay.welcome().await;
    for node in ["near", "far"] {
        let hello = v1::Hello { path: vec!["relay".to_owned()], ..agent(node) };
        relay.send_from(node, agent_message::Kind::Hello(hello)).await;
        let (address, welcome) = relay.next_with_address().await.unwrap();
        assert!(address == node && matches!(welcome, server_message::Kind::Welcome(_)));
        let target = v1::Target {
            id: format!("process/{node}/x:1"),
            incarnation: "1:1".to_owned(),
            platform_type: "ProcessPlatform".to_owned(),
            agent_id: node.to_owned(),
            name: node.to_owned(),
            actions: vec![v1::action_kind::Name::Script.into()],
            health: target_health::State::Normal.into(),
            ..Default::default()
        };
        let targets =
            v1::TargetsChanged { full: true, complete: true, upserted: vec![target], ..Default::default() };
        relay.send_from(node, agent_message::Kind::Targets(targets)).await;
        let id = format!("process/{node}/x:1");
        server.until("it is a target", async || server.app.service().fleet.target(&id).is_some()).await;
    }
    let script = RunScript { name: "own.sh".to_owned(), ..Default::default() };
    let action = v1::Action { kind: Some(v1::action::Kind::Script(script)), ..delay(Duration::from_secs(5)) };
    for node in ["near", "far"] {
        let _updates = server.unleash(node, action.clone()).await.unwrap();
        let (address, content) = relay.next_with_address().await.unwrap();
        let expected =
            v1::ScriptContent { hash: hash(text.as_bytes()), content: text.as_bytes().to_vec().into() };
        assert_eq!((address.as_str(), content), (node, server_message::Kind::Script(expected)));
        let (address, order) = relay.next_with_address().await.unwrap();
        let server_message::Kind::Start(order) = order else { panic!("no order: {order:?}") };
        let Some(v1::action::Kind::Script(script)) = order.action.unwrap().kind else { panic!("no script") };
        assert_eq!((address.as_str(), script.hash), (node, hash(text.as_bytes())));
        // The next one that names it comes alone.
        let target = server.app.service().fleet.target(&order.target_id).unwrap();
        let fleet = server.app.service().fleet.clone();
        let asked =
            tokio::spawn(async move { run(fleet, &target, health_check(&hash(text.as_bytes()))).await });
        let (address, step) = relay.next_with_address().await.unwrap();
        assert!(address == node && matches!(step, server_message::Kind::Step(_)), "{step:?}");
        asked.abort();
    }
}

#[tokio::test]
async fn a_script_is_shown_with_its_content_only_where_it_is_asked_for_by_name() {
    let server = Server::start(Settings::default()).await;
    let mut client = server.client().await;
    let listed = client.list_scripts(v1::ListScriptsRequest::default()).await.unwrap().into_inner().scripts;
    assert!(listed.iter().all(|script| script.included && script.content.is_empty()));
    let request = v1::GetScriptRequest { name: "cpuBurn.sh".to_owned() };
    let script = client.get_script(request).await.unwrap().into_inner();
    assert_eq!(hash(script.content.as_bytes()), script.hash);
    let unknown = client.get_script(v1::GetScriptRequest { name: "rm.sh".to_owned() }).await.unwrap_err();
    assert_eq!(Problem::from(unknown).code, Code::NoSuchScript);
}
