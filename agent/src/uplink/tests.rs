//! The uplink against a server that a test plays itself: what a real server hears and says is what the
//! relay of a next hop hears and says, so the test stands above one.

mod extremes;
mod root;

use std::{collections::BTreeMap, time::Duration};

use chaos_kitty::{
    Code, Problem, client,
    client::TlsFiles,
    endpoint::Endpoint,
    v1::{
        ActionReport, AgentMessage, Hello, LeaseRenewal, Ping, ReportsTaken, RevertAll, RunStep,
        ScriptContent, StartAction, Unlatch, action_state::Name as ActionState, agent_message::Kind as Up,
        agent_role::Name as Role, run_step, server_message::Kind as Down,
    },
};
use tokio::time::timeout;

use root::{EPOCH, PATIENCE, Root, accept, node, own, play, worker};

fn order(id: &str, epoch: u64, answered: u64) -> Down {
    Down::Start(StartAction {
        action_id: id.to_owned(),
        epoch,
        answered,
        start_within: Some(Duration::from_secs(5).into()),
        ..StartAction::default()
    })
}

fn code(report: &ActionReport) -> u32 {
    report.problem.as_ref().map(|problem| problem.code).unwrap_or_default()
}

#[tokio::test]
async fn an_agent_says_who_it_is_and_what_it_offers_and_answers_at_once() {
    let mut root = Root::new();
    let node = node("web-1", &root.path);
    let hello = root.attached("web-1").await;
    assert_eq!((hello.role(), hello.pid), (Role::Agent, std::process::id()));
    assert!(hello.verified && hello.start_time > 0 && !hello.boot_id.is_empty() && !hello.version.is_empty());
    assert_eq!(
        (hello.labels["rack"].as_str(), hello.platforms.as_slice()),
        ("7", ["ProcessPlatform".to_owned()].as_slice())
    );

    let Up::Targets(full) = root.hear("web-1").await else { panic!("targets come first") };
    assert!(full.full && full.complete && full.upserted.is_empty());
    let blind = BTreeMap::from([("ProcessPlatform", "no /proc".to_owned())]);
    node.rosters.send_modify(|roster| roster.problems = blind);
    let Up::Targets(news) = root.hear("web-1").await else { panic!("then what changed") };
    assert!(!news.full && news.complete && news.problems.len() == 1);

    root.say("web-1", Down::Ping(Ping { number: 3 }));
    assert!(matches!(root.hear("web-1").await, Up::Pong(pong) if pong.number == 3));
    root.say("web-1", Down::Renewal(LeaseRenewal { number: 1, answered: 0, epoch: EPOCH }));
    assert!(matches!(root.hear("web-1").await, Up::Renewal(answer) if answer.number == 1));
}

#[tokio::test]
async fn a_step_is_answered_on_its_stream_and_refused_where_it_is_late_or_stale() {
    let mut root = Root::new();
    let node = node("web-1", &root.path);
    root.attached("web-1").await;
    let step = |id: &str, epoch, answered| {
        Down::Step(RunStep {
            step_id: id.to_owned(),
            target_id: "process/web-1/nobody".to_owned(),
            epoch,
            answered,
            start_within: Some(Duration::from_secs(5).into()),
            kind: Some(run_step::Kind::Recycle(run_step::Recycle {})),
            ..RunStep::default()
        })
    };
    for (id, epoch, answered, code) in [
        ("late", EPOCH, 99, Code::OrderTooLate),
        ("stale", EPOCH - 1, 0, Code::StaleEpoch),
        ("fresh", EPOCH, 0, Code::JournalUnavailable),
    ] {
        root.say("web-1", step(id, epoch, answered));
        let is_step = |kind| if let Up::Step(result) = kind { Some(result) } else { None };
        let result = root.hear_such("web-1", is_step).await;
        assert_eq!((result.step_id.as_str(), result.problem.unwrap().code), (id, code.number()));
    }
    // A script that is not what it says ends the stream.
    root.say("web-1", Down::Script(ScriptContent { hash: "0".repeat(64), ..ScriptContent::default() }));
    root.attached("web-1").await;
    drop(node);
}

#[tokio::test]
async fn orders_that_are_late_or_of_an_older_server_are_refused_with_their_numbers() {
    let mut root = Root::new();
    let _node = node("web-1", &root.path);
    root.attached("web-1").await;
    root.say("web-1", order("a", EPOCH, 99));
    let late = root.report("web-1").await;
    assert_eq!((late.state(), code(&late)), (ActionState::Refused, Code::OrderTooLate.number()));
    root.say("web-1", order("b", EPOCH - 1, 0));
    let stale = root.report("web-1").await;
    assert_eq!((stale.action_id.as_str(), code(&stale)), ("b", Code::StaleEpoch.number()));
    root.say("web-1", order("c", EPOCH, 0));
    let fresh = root.report("web-1").await;
    assert_eq!(
        (fresh.sequence, code(&fresh)),
        (3, Code::GuardUnavailable.number()),
        "it came to the executor"
    );
}

#[tokio::test]
async fn a_server_older_than_the_newest_obeyed_is_left_and_renews_nothing() {
    let mut root = Root::new();
    let mut node = node("web-1", &root.path);
    root.attached("web-1").await;
    node.seen.wait_for(|seen| seen.epoch == EPOCH).await.unwrap();
    root.say("web-1", Down::Renewal(LeaseRenewal { number: 1, answered: 0, epoch: EPOCH - 1 }));
    root.say("web-1", Down::Ping(Ping { number: 1 }));
    let next = root.hear_such("web-1", |kind| (!matches!(kind, Up::Targets(_))).then_some(kind)).await;
    assert!(matches!(next, Up::Pong(_)), "a stale renewal was answered: {next:?}");
    root.restart();
    let hello = root.hello("web-1").await;
    assert_eq!((hello.epoch, hello.server_id.as_str()), (EPOCH, "server"));
    root.welcome("web-1", EPOCH - 1);
    root.hear_such("web-1", |kind| matches!(kind, Up::Goodbye(_)).then_some(())).await;
    root.attached("web-1").await;
    root.say("web-1", Down::Ping(Ping { number: 2 }));
    root.hear_such("web-1", |kind| matches!(kind, Up::Pong(_)).then_some(())).await;
}

#[tokio::test]
async fn reports_that_were_not_taken_in_come_again_and_the_others_do_not() {
    let mut root = Root::new();
    let node = node("web-1", &root.path);
    root.attached("web-1").await;
    for id in ["a", "b"] {
        root.say("web-1", order(id, EPOCH, 99));
        root.report("web-1").await;
    }
    root.say("web-1", Down::Taken(ReportsTaken { sequence: 1 }));
    root.say("web-1", Down::Ping(Ping { number: 1 }));
    root.hear_such("web-1", |kind| matches!(kind, Up::Pong(_)).then_some(())).await;
    root.restart();
    let hello = root.attached("web-1").await;
    let held: Vec<_> = hello.held.iter().map(|report| (report.action_id.as_str(), report.sequence)).collect();
    assert_eq!(held, [("b", 2)]);

    root.hear_such("web-1", |kind| matches!(kind, Up::Targets(_)).then_some(())).await;
    // An agent that leaves waits for its last reports to be taken in.
    node.leave.cancel();
    root.say("web-1", Down::Taken(ReportsTaken { sequence: 2 }));
    root.hear_such("web-1", |kind| matches!(kind, Up::Goodbye(_)).then_some(())).await;
    timeout(PATIENCE, node.running).await.unwrap().unwrap();
    assert!(node.reports.is_empty());
}

#[tokio::test]
async fn a_halt_latches_the_agent_until_it_is_unlatched() {
    let mut root = Root::new();
    let mut node = node("web-1", &root.path);
    root.attached("web-1").await;
    root.say("web-1", Down::RevertAll(RevertAll { epoch: EPOCH - 1 }));
    root.say("web-1", Down::RevertAll(RevertAll { epoch: EPOCH }));
    node.seen.wait_for(|seen| seen.latched).await.unwrap();
    assert!(node.executor.is_latched());
    root.restart();
    assert!(root.attached("web-1").await.latched);
    root.say("web-1", Down::Unlatch(Unlatch { epoch: EPOCH }));
    node.seen.wait_for(|seen| !seen.latched).await.unwrap();
    assert!(!node.executor.is_latched());
}

#[tokio::test]
async fn through_two_relays_a_worker_is_one_node_with_its_path() {
    let mut root = Root::new();
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (folder.path().join("near.ipc"), folder.path().join("far.ipc"));
    let upper = node("upper", &root.path);
    let lower = node("lower", &near);
    let _acceptors = (accept(&near, &upper.relay), accept(&far, &lower.relay));
    root.attached("upper").await;
    root.attached("lower").await;
    let mut till = play(&far, worker("till")).await.unwrap();
    let hello = root.attached("till").await;
    assert_eq!(hello.path, ["lower", "upper", "root"]);
    assert_eq!((hello.pid, hello.verified), (std::process::id(), true), "the socket's word, not the claim");
    let welcome = till.inbound.message().await.unwrap().unwrap();
    assert!(welcome.node.is_empty() && matches!(welcome.kind, Some(Down::Welcome(_))));

    root.say("till", Down::Renewal(LeaseRenewal { number: 1, answered: 0, epoch: EPOCH }));
    let renewal = till.inbound.message().await.unwrap().unwrap();
    assert_eq!(renewal.kind, Some(Down::Renewal(LeaseRenewal { number: 1, answered: 0, epoch: EPOCH })));
    till.out.send(own(Up::Renewal(LeaseRenewal { number: 1, ..LeaseRenewal::default() }))).await.unwrap();
    root.hear_such("till", |kind| matches!(kind, Up::Renewal(_)).then_some(())).await;

    drop(till);
    let goodbye = root.hear_such("till", |kind| if let Up::Goodbye(said) = kind { Some(said) } else { None });
    assert!(!goodbye.await.process_ended, "its process lives");

    // A stream that is lost above ends those below, and they come again.
    root.restart();
    assert_eq!(root.attached("upper").await.path, ["root"]);
    assert_eq!(root.attached("lower").await.path, ["upper", "root"]);
}

#[tokio::test]
async fn what_breaks_the_protocol_on_the_local_socket_gets_a_status_and_disturbs_nobody() {
    let mut root = Root::new();
    let mut bystander = play(&root.path, worker("bystander")).await.unwrap();
    root.attached("bystander").await;
    bystander.inbound.message().await.unwrap().unwrap();

    let no_hello = own(Up::Goodbye(Default::default()));
    assert_eq!(play(&root.path, no_hello).await.err().unwrap().code, Code::ProtocolViolation);
    let future = own(Up::Hello(Hello { protocol_versions: vec![2], ..hello_of(worker("w")) }));
    assert_eq!(play(&root.path, future).await.err().unwrap().code, Code::ProtocolVersion);
    let nameless = own(Up::Hello(Hello { agent_id: String::new(), ..hello_of(worker("w")) }));
    assert_eq!(play(&root.path, nameless).await.err().unwrap().code, Code::InvalidArgument);
    let looped = own(Up::Hello(Hello { agent_id: "root".to_owned(), ..hello_of(worker("w")) }));
    assert_eq!(play(&root.path, looped).await.err().unwrap().code, Code::RelayLoop);

    let mut twice = play(&root.path, worker("twice")).await.unwrap();
    root.attached("twice").await;
    twice.inbound.message().await.unwrap().unwrap();
    twice.out.send(worker("twice")).await.unwrap();
    let status = twice.inbound.message().await.unwrap_err();
    assert_eq!(Problem::from(status).code, Code::ProtocolViolation);

    let mut client = client::dial(&Endpoint::Unix(root.path.clone()), &TlsFiles::default()).await.unwrap();
    let refused = client.get_status(chaos_kitty::v1::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    assert!(Problem::from(refused).hint.contains("call the server"));

    root.say("bystander", Down::Ping(Ping { number: 1 }));
    let ping = bystander.inbound.message().await.unwrap().unwrap();
    assert!(matches!(ping.kind, Some(Down::Ping(_))));
}

fn hello_of(message: AgentMessage) -> Hello {
    let Some(Up::Hello(hello)) = message.kind else { panic!("no Hello") };
    hello
}

#[tokio::test]
async fn a_neighbour_that_does_not_read_is_cut_off_and_the_others_are_not() {
    let mut root = Root::new();
    let mut slow = play(&root.path, worker("slow")).await.unwrap();
    let mut quick = play(&root.path, worker("quick")).await.unwrap();
    root.attached("slow").await;
    root.attached("quick").await;
    quick.inbound.message().await.unwrap().unwrap();
    let hint = "x".repeat(1000);
    let gone = loop {
        let end = chaos_kitty::v1::Problem { hint: hint.clone(), ..Default::default() };
        let kind = chaos_kitty::v1::invoked::Kind::Problem(end);
        root.say("slow", Down::Invoked(chaos_kitty::v1::Invoked { call: 1, kind: Some(kind) }));
        root.say("quick", Down::Ping(Ping { number: 1 }));
        quick.inbound.message().await.unwrap().unwrap();
        if let Some(message) = root.heard.try_recv() {
            break message;
        }
    };
    assert!(matches!((gone.node.as_str(), gone.kind), ("slow", Some(Up::Goodbye(_)))));
    let status = loop {
        match slow.inbound.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(Problem::from(status).code, Code::FellBehind);
}

#[tokio::test]
async fn without_a_server_a_neighbour_is_told_to_come_again() {
    let root = Root::new();
    root.relay.closed();
    let refused = play(&root.path, worker("early")).await.err().unwrap();
    assert_eq!(refused.code, Code::ConnectionLost);
    assert!(refused.hint.contains("again"));
}
