//! Streams behind a proxy that ends what says nothing for a while.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use chaos_kitty_tests::{Agent, Sandbox, Server, process::Process, proxy::Proxy};

/// What a proxy's read timeout of 60 s is here.
const PATIENCE: Duration = Duration::from_secs(1);

struct Ground {
    sandbox: Sandbox,
    server: Server,
    _agent: Agent,
    _sleeper: Process,
    _proxy: Proxy,
    target: String,
    behind: String,
}

/// A target behind a server that beats so often, and a proxy before it.
async fn ground(heartbeat: &str) -> Ground {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--heartbeat", heartbeat]).await;
    // Of this sandbox alone: the same name in another test would be of the same group.
    let name = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "quiet");
    let program = sandbox.path().join(&name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    let sleeper = Process::start(&name, command, sandbox.path());
    let agent = sandbox.agent(&server, "a", &["--process", &name]).await;
    let target = format!("{name}:{}", sleeper.pid());
    server.target(&target).await;
    let path = sandbox.path().join("proxy.ipc");
    let socket = PathBuf::from(server.address().trim_start_matches("unix:"));
    let proxy = Proxy::impatient(&path, &socket, PATIENCE);
    let behind = proxy.endpoint().to_string();
    Ground { sandbox, server, _agent: agent, _sleeper: sleeper, _proxy: proxy, target, behind }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_beats_is_not_cut() {
    let ground = ground("100ms").await;
    let line = ["unleash", "delay", "--target", &ground.target, "--duration", "3s"];
    let ended = ground.sandbox.kittyctl(&ground.behind, &line);
    assert!(ended.code == 0 && !ended.stderr.contains("broke off"), "{ended}");
    let line = ["--timeout", "3s", "event", "watch", "--kind", "halted"];
    let ended = ground.sandbox.kittyctl(&ground.behind, &line);
    assert!(ended.code == 0 && ended.stderr.is_empty() && ended.stdout.is_empty(), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_is_followed_by_its_id_and_said_in_plain_words() {
    let ground = ground("1h").await;
    let line = ["unleash", "delay", "--target", &ground.target, "--duration", "3s"];
    let ended = ground.sandbox.kittyctl(&ground.behind, &line);
    assert!(ended.code == 0 && ended.stdout.contains("REVERTED"), "{ended}");
    assert!(ended.stderr.contains("the connection broke off") && !ended.stderr.contains("h2"), "{ended}");
    let line = ["--timeout", "3s", "event", "watch", "--kind", "halted"];
    let ended = ground.sandbox.kittyctl(&ground.behind, &line);
    assert!(ended.code == 0 && ended.stderr.contains("asking again"), "{ended}");
    drop(ground.server);
}
