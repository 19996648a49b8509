//! Every field of every message with every value that somebody may have forgotten: nothing ends, every answer says what
//! is wrong.

#[path = "../../../../proto/bounds/extremes.rs"]
mod generated;
mod raw;
mod rest;

use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use chaos_kitty::{Timestamp, v1::action_state::Name as State};
use generated::Schema;
use prost::Message;

use super::*;
use raw::Raw;

/// Panics on the threads of these tests, on which their servers run too. Other tests panic on purpose.
static PANICS: LazyLock<AtomicUsize> = LazyLock::new(|| {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_ours = std::thread::current().name().is_some_and(|name| name.starts_with("tests::extremes"));
        PANICS.fetch_add(usize::from(is_ours), Ordering::SeqCst);
        before(panic);
    }));
    AtomicUsize::new(0)
});

fn settings() -> Settings {
    let experiments = crate::experiment::Settings {
        tick: Duration::from_millis(20),
        concurrent_suites: true,
        min_survivors: 0,
        ..Default::default()
    };
    Settings { experiments, ..quick() }
}

/// A server with a worker that does at once what it is told, and one in a group.
async fn server() -> Server {
    let _counted = PANICS.load(Ordering::SeqCst);
    let server = Server::start(settings()).await;
    tokio::spawn(obey(server.worker("till", "group").await));
    tokio::spawn(obey(server.worker("billing", "").await));
    server
}

/// Does at once what it is told, for as long as nothing is said.
async fn obey(mut node: Node) {
    while let Ok(Some(message)) = node.inbound.message().await {
        match message.kind {
            Some(server_message::Kind::Renewal(renewal)) => {
                let answer = v1::LeaseRenewal { number: renewal.number, ..Default::default() };
                node.send(agent_message::Kind::Renewal(answer)).await;
            }
            Some(server_message::Kind::Ping(ping)) => {
                node.send(agent_message::Kind::Pong(v1::Pong { number: ping.number })).await;
            }
            Some(server_message::Kind::Start(order)) => {
                node.report(&order, State::Started).await;
                node.report(&order, State::Reverted).await;
            }
            _ => {}
        }
    }
}

/// A request that is accepted as it is.
fn valid(message: &str) -> Vec<u8> {
    let second = || Some(Duration::from_millis(1).into());
    let id = || "0".to_owned();
    let criteria = vec![v1::ExperimentCriteria {
        container_identifier: "group".to_owned(),
        experiment_methods: vec!["delay".to_owned()],
        ..Default::default()
    }];
    match message {
        "UnleashRequest" => v1::UnleashRequest {
            action: Some(v1::Action { duration: second(), ..delay(Duration::ZERO) }),
            choice: Some(Choice::Target("billing".to_owned())),
            ..Default::default()
        }
        .encode_to_vec(),
        "ExperimentSuite" => v1::ExperimentSuite {
            platform_type: "WorkerPlatform".to_owned(),
            experiment_criteria: criteria,
            dry_run: true,
            ..Default::default()
        }
        .encode_to_vec(),
        "PutOperationRequest" => {
            let operation = v1::Operation { name: "hairball".to_owned(), ..Default::default() };
            v1::PutOperationRequest { operation: Some(operation) }.encode_to_vec()
        }
        "DeleteOperationRequest" => v1::DeleteOperationRequest { name: id() }.encode_to_vec(),
        "GetSuiteRecordRequest" => v1::GetSuiteRecordRequest { at: Some(Timestamp::now()) }.encode_to_vec(),
        "GetScriptRequest" => v1::GetScriptRequest { name: "burnIO.sh".to_owned() }.encode_to_vec(),
        "SetAdminStateRequest" => v1::SetAdminStateRequest { state: 1, ..Default::default() }.encode_to_vec(),
        _ => Vec::new(),
    }
}

/// What an answer must not be: a call that broke off, or a defect.
fn is_defect(status: &Status) -> bool {
    let says_why = Problem::from(status.clone());
    match status.code() {
        tonic::Code::Internal => says_why.code == Code::Internal,
        tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::DataLoss => true,
        tonic::Code::Unavailable => matches!(says_why.code, Code::ConnectionLost | Code::NotReachable),
        _ => false,
    }
}

async fn still_well(server: &Server) {
    let status = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.losses.len() < 100);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked: see above");
}

#[tokio::test]
async fn no_field_of_any_request_ends_anything_over_grpc() {
    let server = server().await;
    let schema = Schema::read();
    let mut raw = Raw::connect(&server.unix).await;
    let (mut calls, mut accepted) = (0, 0);
    for method in schema.methods().iter().filter(|method| !method.client_streaming()) {
        let request = method.input_type().rsplit('.').next().unwrap();
        let mut inputs = vec![("nothing".to_owned(), Vec::new())];
        inputs.extend(schema.extremes(method.input_type()).into_iter().map(|it| (it.what, it.bytes)));
        for (what, bytes) in inputs {
            let answer = raw.call(method.name(), [valid(request), bytes].concat()).await;
            calls += 1;
            match answer {
                Ok(()) => accepted += 1,
                Err(status) => assert!(!is_defect(&status), "{}{what}: {status:?}", method.name()),
            }
            // What changes the state of the whole is undone, so that the next call gets further.
            if matches!(method.name(), "Halt" | "SetAdminState") {
                raw.call("Resume", Vec::new()).await.unwrap();
                raw.call("SetAdminState", valid("SetAdminStateRequest")).await.unwrap();
            }
        }
    }
    assert!(calls > 1000 && accepted > 400, "{accepted} of {calls} were accepted");
    still_well(&server).await;
}

#[tokio::test]
async fn no_field_of_any_message_of_a_node_ends_anything_but_its_stream() {
    let server = server().await;
    let schema = Schema::read();
    let hello = |bytes: &[u8]| {
        let kind = Some(agent_message::Kind::Hello(agent("extreme")));
        [v1::AgentMessage { kind, ..Default::default() }.encode_to_vec(), bytes.to_vec()].concat()
    };
    let mut raw = Raw::connect(&server.tcp).await;
    let extremes = schema.extremes(".chaoskitty.v1.AgentMessage");
    let (hellos, others): (Vec<_>, Vec<_>) =
        extremes.into_iter().partition(|extreme| extreme.what.starts_with(".hello"));
    assert!(hellos.len() > 500 && others.len() > 1000, "{} and {}", hellos.len(), others.len());
    for extreme in hellos {
        let ended = raw.attach(vec![hello(&extreme.bytes)]).await;
        assert!(!ended.as_ref().is_some_and(is_defect), "{}: {ended:?}", extreme.what);
    }
    for some in others.chunks(8) {
        let messages = some.iter().map(|extreme| extreme.bytes.clone());
        let ended = raw.attach(std::iter::once(hello(&[])).chain(messages).collect()).await;
        let what: Vec<_> = some.iter().map(|extreme| &extreme.what).collect();
        assert!(!ended.as_ref().is_some_and(is_defect), "{what:?}: {ended:?}");
    }
    still_well(&server).await;
}
