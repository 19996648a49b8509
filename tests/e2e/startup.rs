//! kittyd starts, or says why not, and ends: sockets, stores, settings.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    time::Instant,
};

use chaos_kitty_tests::{Finished, Sandbox, eventually};
use rustix::process::Signal;

/// Runs kittyd where it is expected not to start, or only to say something.
fn kittyd(sandbox: &Sandbox, flags: &[&str]) -> Finished {
    let mut command = sandbox.command("kittyd");
    command.args(flags);
    sandbox.finish(command)
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_second_server_on_one_socket_is_refused_and_the_first_goes_on() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let second = kittyd(&sandbox, &["--store", "other.db", "--listen", &server.address()]);
    assert_eq!(second.code, 1, "{second}");
    assert!(second.stderr.contains("another program listens there"), "{second}");
    assert!(second.stderr.contains("chaos_kitty.ipc"), "{second}");
    assert_eq!(server.status().await.listening.len(), 2);
}

#[tokio::test]
async fn a_second_server_on_one_store_is_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let second = kittyd(&sandbox, &["--listen", "unix:other.ipc"]);
    assert_eq!(second.code, 1, "{second}");
    assert!(second.stderr.contains("chaos_kitty.db: another kittyd has this store open"), "{second}");
    assert!(!sandbox.path().join("other.ipc").exists(), "what was bound is given up");
    server.status().await;
}

#[tokio::test]
async fn the_socket_of_a_killed_server_is_taken_over() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&[]).await;
    let (id, epoch) = (server.status().await.server_id, server.status().await.epoch);
    server.process.kill();
    let socket = sandbox.path().join("chaos_kitty.ipc");
    assert!(socket.exists());
    drop(server);
    let server = sandbox.server(&[]).await;
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = server.status().await;
    assert_eq!(status.server_id, id);
    assert!(status.epoch > epoch);
}

#[test]
fn files_of_somebody_else_are_refused_and_left_as_they_are() {
    let sandbox = Sandbox::new();
    let precious = sandbox.path().join("precious");
    fs::write(&precious, "do not touch").unwrap();
    let foreign = UnixListener::bind(sandbox.path().join("foreign.ipc")).unwrap();
    for (flags, code) in [
        (["--listen", "unix:precious", "--store", "kitty.db"], 2),
        (["--listen", "unix:foreign.ipc", "--store", "kitty.db"], 1),
        (["--listen", "unix:kitty.ipc", "--store", "precious"], 1),
    ] {
        let refused = kittyd(&sandbox, &flags);
        assert_eq!(refused.code, code, "{flags:?}: {refused}");
        assert!(refused.stderr.starts_with("kittyd: 6"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&precious).unwrap(), "do not touch");
    assert!(sandbox.path().join("foreign.ipc").exists());
    drop(foreign);
}

#[tokio::test]
async fn a_damaged_store_is_refused_with_its_path_and_what_to_do() {
    let sandbox = Sandbox::new();
    drop(sandbox.server(&[]).await);
    assert_eq!(kittyd(&sandbox, &["check"]).code, 0);
    let store = sandbox.path().join("chaos_kitty.db");
    let damaged = [b"SQLite format 3\0".to_vec(), vec![0xc1; 8192]].concat();
    fs::write(&store, &damaged).unwrap();
    for file in files(sandbox.path()).iter().filter(|name| name.contains("-wal") || name.contains("-shm")) {
        fs::remove_file(sandbox.path().join(file)).unwrap(); // else SQLite mends the file from its log
    }
    for flags in [&["check"][..], &["--listen", "unix:kitty.ipc"]] {
        let refused = kittyd(&sandbox, flags);
        assert_eq!(refused.code, 1, "{refused}");
        assert!(refused.stderr.contains("chaos_kitty.db: the store is damaged"), "{refused}");
        assert!(refused.stderr.contains("restore a copy"), "{refused}");
    }
    assert_eq!(fs::read(&store).unwrap(), damaged);
}

#[tokio::test]
async fn a_server_that_was_told_to_end_leaves_its_store_in_one_file() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&[]).await;
    let _agent = sandbox.agent(&server, "web-1", &[]).await;
    server.process.signal(Signal::TERM);
    assert!(server.process.ended().await.success());
    let logs: Vec<_> = files(sandbox.path())
        .into_iter()
        .filter(|name| name.ends_with("-wal") || name.ends_with("-shm"))
        .collect();
    assert!(logs.is_empty(), "{logs:?}");
}

#[tokio::test]
async fn sigterm_ends_it_with_0_in_time_and_nothing_of_its_sockets_is_left() {
    let sandbox = Sandbox::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = sandbox.server(&[]).await;
        // A watcher must not hold the end up.
        let mut events =
            server.client().await.watch_events(chaos_kitty::v1::WatchEventsRequest::default()).await.unwrap();
        let asked = Instant::now();
        server.process.signal(signal);
        let status = server.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", server.process.stderr());
        assert!(asked.elapsed().as_secs() < 10);
        assert!(events.get_mut().message().await.is_err(), "the watcher is told");
        let left = files(sandbox.path());
        assert!(left.iter().all(|name| !name.contains(".ipc")), "{left:?}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_their_lines() {
    let sandbox = Sandbox::new();
    let file = "lease = '1s'\nleese = '20s'\ninsecure = 'yes'\n\n[tls]\ncert = 5\ncolour = 'red'\n";
    fs::write(sandbox.path().join("kittyd.toml"), file).unwrap();
    let refused = kittyd(&sandbox, &["--config", "kittyd.toml"]);
    assert_eq!(refused.code, 2, "{refused}");
    for expected in [
        "kittyd.toml:1: lease: \"1s\": it must be from 2 to 600 s",
        "kittyd.toml:2: leese: no such setting; did you mean lease?",
        "kittyd.toml:3: insecure: it is a string",
        "kittyd.toml:6: tls-cert: it is an integer",
        "kittyd.toml:7: tls-colour: no such setting",
    ] {
        assert!(refused.stderr.contains(expected), "{expected} is not in {refused}");
    }
}

#[test]
fn flags_go_over_variables_and_variables_over_the_file() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("kittyd.toml"), "lease = '20s'\nmax-duration = '2h'\nstore = 'file.db'\n")
        .unwrap();
    let mut command = sandbox.command("kittyd");
    command.env("KITTY_CONFIG", "kittyd.toml").env("KITTY_LEASE", "30s").env("KITTY_STORE", "variable.db");
    command.args(["--lease", "40s", "--dump-config"]);
    let dumped = sandbox.finish(command);
    assert_eq!(dumped.code, 0, "{dumped}");
    for expected in
        ["lease = \"40s\"", "store = \"variable.db\"", "max-duration = \"2h\"", "survivor-window = \"10m\""]
    {
        assert!(dumped.stdout.contains(expected), "{dumped}");
    }
    fs::write(sandbox.path().join("again.toml"), &dumped.stdout).unwrap();
    let again = kittyd(&sandbox, &["--config", "again.toml", "--dump-config"]);
    assert_eq!(again.stdout, dumped.stdout);
}

#[test]
fn plain_tcp_for_others_is_refused_unless_it_is_wanted() {
    let sandbox = Sandbox::new();
    let refused = kittyd(&sandbox, &["--listen", "http://0.0.0.0:0"]);
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.stderr.contains("--insecure") && refused.stderr.contains("--tls-cert"), "{refused}");
}

#[tokio::test]
async fn nonsense_that_is_found_only_by_trying_ends_either_program_with_2_and_what_is_in_use_with_1() {
    let sandbox = Sandbox::new();
    let file = |name: &str, text: &str| fs::write(sandbox.path().join(name), text).unwrap();
    file("no.pem", "no certificate");
    file("policy.toml", "max_cpu = 'much'");
    file("rules.toml", "[[process]]\nname = 'x'\ncommand_line = '('\n");
    let server = sandbox.server(&[]).await;
    let tcp = server.tcp().await;
    let _agent = sandbox.agent(&server, "a", &[]).await;
    let https = "https://127.0.0.1:0";
    for (program, flags, code) in [
        ("kittyd", &["--listen", https, "--tls-cert", "no.pem"][..], 2),
        ("kittyd", &["--listen", https, "--tls-cert", "no.pem", "--tls-key", "no.pem"], 2),
        ("kittyd", &["--listen", https, "--tls-cert", "gone.pem", "--tls-key", "gone.pem"], 2),
        ("kittyd", &["--listen", "unix:b.ipc", "--tls-cert", "no.pem", "--tls-key", "no.pem"], 2),
        ("kittyd", &["--listen", "unix:no/folder/b.ipc"], 2),
        ("kittyd", &["--listen", "unix:b.ipc", "--otlp-endpoint", "not an address"], 2),
        ("kittyd", &["--listen", &tcp], 1),
        ("kitty-agent", &["--state", "b", "--listen", "http://127.0.0.1:0"], 2),
        ("kitty-agent", &["--state", "b", "--listen", "unix:b.ipc", "--listen-group", "no-such-group"], 2),
        ("kitty-agent", &["--state", "b", "--policy", "policy.toml"], 2),
        ("kitty-agent", &["check", "--state", "b", "--policy", "policy.toml"], 2),
        ("kitty-agent", &["--state", "b", "--policy", "gone.toml"], 2),
        ("kitty-agent", &["--state", "b", "--config", "rules.toml"], 2),
        ("kitty-agent", &["--state", "b", "--server", "https://127.0.0.1:9"], 2),
        ("kitty-agent", &["--state", "b", "--server", "https://127.0.0.1:9", "--tls-ca", "gone.pem"], 2),
        ("kitty-agent", &["--state", "no.pem"], 2),
        ("kitty-agent", &["--state", "a.state"], 1),
        ("kitty-agent", &["--state", "b", "--listen", "unix:a.ipc"], 1),
    ] {
        let mut command = sandbox.command(program);
        let refused = sandbox.finish({
            command.args(flags);
            command
        });
        assert_eq!(refused.code, code, "{program} {flags:?}: {refused}");
        assert!(flags[0] == "check" || refused.stderr.contains(": 6"), "{flags:?}: {refused}");
    }
}

#[tokio::test]
async fn logs_are_json_where_that_is_wanted() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--log-format", "json"]).await;
    // It answers a moment before it says so.
    let line = eventually("its first line", async || {
        let log = server.process.stderr();
        log.split_inclusive('\n').next().filter(|line| line.ends_with('\n')).map(str::to_owned)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["fields"]["message"], "kittyd serves");
}
