//! Operations: put, changed, deleted, kept; and whom they leave alone.

use std::collections::HashSet;

use chaos_kitty::v1::{self, ActionStatus, OperationStatus, WatchEventsRequest, event::Kind};
use chaos_kitty_tests::{Sandbox, Server, Shop, eventually};
use rustix::process::Signal;

async fn shops<const N: usize>(sandbox: &Sandbox, server: &Server, names: [&str; N]) -> Vec<Shop> {
    let mut shops = Vec::new();
    for name in names {
        shops.push(sandbox.shop(name, &server.address()).await);
        server.target(name).await;
    }
    shops
}

/// Puts an operation as an operator does.
fn put(sandbox: &Sandbox, server: &Server, words: &str) -> OperationStatus {
    let line: Vec<&str> = ["operation", "put", "-o", "json"].into_iter().chain(words.split(' ')).collect();
    let done = sandbox.kittyctl(&server.address(), &line);
    assert_eq!(done.code, 0, "{done}");
    serde_json::from_value(done.json()).expect("a status")
}

async fn list(server: &Server) -> Vec<OperationStatus> {
    let list = server.client().await.list_operations(v1::ListOperationsRequest::default()).await;
    list.unwrap().into_inner().operations
}

/// The status of the only operation, once it is as it should be.
async fn once(server: &Server, what: &str, is: impl Fn(&OperationStatus) -> bool) -> OperationStatus {
    eventually(what, async || list(server).await.into_iter().next().filter(&is)).await
}

/// Names of the targets of the next strikes that were admitted, until there are so many.
async fn strikes(server: &Server, count: usize) -> Vec<String> {
    let request = WatchEventsRequest { kinds: vec!["operation_round".to_owned()], after: None };
    let mut events = server.client().await.watch_events(request).await.unwrap().into_inner();
    let mut names = Vec::new();
    let watch = async {
        while names.len() < count {
            let event = events.message().await.unwrap().expect("the server goes on").kind;
            let Some(Kind::OperationRound(round)) = event else { panic!("{event:?}") };
            if round.hit && round.error.is_empty() {
                names.push(round.target_name);
            }
        }
    };
    let in_time = tokio::time::timeout(chaos_kitty_tests::patience(), watch).await.is_ok();
    assert!(in_time, "only {} strikes of {count}: {names:?}", names.len());
    names
}

const OFTEN: &str = "hairball --interval 100ms --probability 1 --min-delay 50ms --max-delay 50ms";

#[tokio::test]
async fn an_operation_is_put_changed_and_deleted_while_the_server_runs() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let _shops = shops(&sandbox, &server, ["till", "desk"]).await;
    assert_eq!(list(&server).await, [], "none runs until it is put");

    let status = put(&sandbox, &server, OFTEN);
    assert_eq!((status.kind.as_str(), status.targets), ("hairball", 2));
    let struck = once(&server, "strikes", |status| status.hits >= 3).await;
    assert!(struck.rounds >= struck.hits && struck.next_round_at.is_some() && struck.last_hit_at.is_some());
    assert!(struck.last_target.starts_with("worker/"), "{struck:?}");

    let changed = put(&sandbox, &server, "hairball --interval 1h");
    assert_eq!(changed.operation.unwrap().interval.unwrap().seconds, 3600);
    assert_eq!(list(&server).await.len(), 1);

    put(&sandbox, &server, "nap --kind zoomies --interval 1h --group shop");
    let names: Vec<_> = server.status().await.operations.into_iter().map(|it| (it.name, it.kind)).collect();
    assert_eq!(names, [("hairball".into(), "hairball".into()), ("nap".into(), "zoomies".into())]);

    for name in ["hairball", "nap"] {
        let deleted = sandbox.kittyctl(&server.address(), &["operation", "delete", name]);
        assert_eq!(deleted.code, 0, "{deleted}");
    }
    assert_eq!(list(&server).await, []);
    let again = sandbox.kittyctl(&server.address(), &["operation", "delete", "nap"]);
    assert_eq!(again.code, 1, "{again}");
    assert!(again.stderr.contains("63004"), "{again}");
}

#[tokio::test]
async fn an_operation_outlives_the_server_and_goes_on_with_the_next_one() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&["--lease", "2s"]).await;
    let _shops = shops(&sandbox, &server, ["till", "desk"]).await;
    put(&sandbox, &server, &format!("{OFTEN} --seed 7 --group shop"));
    once(&server, "strikes", |status| status.hits >= 1).await;
    server.process.kill();
    drop(server);

    let server = sandbox.server(&["--lease", "2s"]).await;
    let status = once(&server, "strikes after the restart", |status| status.hits >= 1).await;
    let operation = status.operation.expect("as it runs");
    assert_eq!(operation.seed, Some(7));
    assert_eq!(operation.selector.expect("it has one").aggregation_identifier, "shop");
}

#[tokio::test]
async fn a_worker_that_hangs_does_not_silence_the_operation_for_the_others() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let shops = shops(&sandbox, &server, ["till", "desk", "hung"]).await;
    put(&sandbox, &server, OFTEN);
    once(&server, "strikes", |status| status.hits >= 3).await;
    shops[2].process.signal(Signal::STOP);
    let names = strikes(&server, 20).await;
    let others: HashSet<&str> = names.iter().map(String::as_str).filter(|name| *name != "hung").collect();
    assert_eq!(others.len(), 2, "{names:?}");
    assert!(
        names.iter().filter(|name| *name == "hung").count() <= 2,
        "it is left alone once it hangs: {names:?}"
    );
    shops[2].process.signal(Signal::CONT);
}

#[tokio::test]
async fn at_least_one_of_a_group_of_two_is_left_alone_at_every_moment() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let _shops = shops(&sandbox, &server, ["till", "desk"]).await;
    let request = WatchEventsRequest { kinds: vec!["action".to_owned()], after: None };
    let mut events = server.client().await.watch_events(request).await.unwrap().into_inner();
    put(&sandbox, &server, "hairball --interval 50ms --probability 1 --min-delay 300ms --max-delay 300ms");
    let mut hurt: HashSet<String> = HashSet::new();
    let mut over = 0;
    while over < 10 {
        let next = tokio::time::timeout(chaos_kitty_tests::patience(), events.message()).await;
        let event = next.expect("strikes go on").unwrap().expect("the server goes on").kind;
        let Some(Kind::Action(ActionStatus { target_name, ended_at, .. })) = event else {
            panic!("{event:?}")
        };
        if ended_at.is_some() {
            hurt.remove(&target_name);
            over += 1;
        } else {
            hurt.insert(target_name);
        }
        assert!(hurt.len() < 2, "both at once: {hurt:?}");
    }
    let status = list(&server).await.remove(0);
    assert!(status.skipped > 0 && status.errors == 0, "{status:?}");
}

#[tokio::test]
async fn a_value_that_can_not_be_used_is_refused_with_its_field() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    for (words, field) in [
        ("hairball --min-delay 2s --max-delay 1s", "hairball.min_delay"),
        ("scratch --signal MEOW", "scratch.signal"),
        ("floop --min-size-mb 200", "floop.min_size_mb"),
    ] {
        let line: Vec<&str> = ["operation", "put"].into_iter().chain(words.split(' ')).collect();
        let refused = sandbox.kittyctl(&server.address(), &line);
        assert_eq!(refused.code, 2, "{refused}");
        assert!(refused.stderr.contains(field), "{refused}");
    }
    assert_eq!(list(&server).await, []);
}
