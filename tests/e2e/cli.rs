//! kittyctl as its users have it: exit codes, forms of output, interruptions, and the demo.

use std::{
    io::Read,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually,
    process::{Process, is_alive, wait_for},
};
use rustix::process::Signal;

/// A server, an agent whose rule finds one process of the test's own, and that process.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) victim: Process,
    pub(crate) target: String,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&[]).await;
        // A name that no other process of this machine has.
        let rule = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "nap");
        let program = sandbox.path().join(&rule);
        symlink("/bin/sleep", &program).unwrap();
        let agent = sandbox.agent(&server, "web-1", &["--process", &rule]).await;
        let mut command = Command::new(&program);
        command.arg("600");
        let victim = Process::start("victim", command, sandbox.path());
        let target = format!("process/web-1/{rule}:{}", victim.pid());
        eventually("the victim is a target", async || {
            server.targets().await.into_iter().find(|listed| listed.id == target)
        })
        .await;
        Self { sandbox, server, agent, victim, target }
    }

    pub(crate) fn kittyctl(&self, arguments: &[&str]) -> chaos_kitty_tests::Finished {
        self.sandbox.kittyctl(&self.server.address(), arguments)
    }
}

#[test]
fn nobody_at_the_address_is_exit_code_4_with_a_hint() {
    let sandbox = Sandbox::new();
    let done = sandbox.finish({
        let mut command = sandbox.command("kittyctl");
        command.arg("status");
        command
    });
    assert_eq!(done.code, 4, "{done}");
    assert!(done.stderr.starts_with("error: 62015: "), "{done}");
    for place in ["unix:chaos_kitty.ipc", "unix:/run/chaos-kitty/chaos_kitty.ipc", "http://127.0.0.1:8080"] {
        assert!(done.stderr.contains(place), "{place}: {done}");
    }
    assert!(done.stderr.contains("hint: start kittyd"), "{done}");
    assert!(done.stdout.is_empty(), "{done}");
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_no_error() {
    let sandbox = Sandbox::new();
    for wrong in [
        &["unleash", "delay", "--target", "a", "--duration", "0s"][..],
        &["unleash", "cpu", "--target", "a", "--duration", "1s", "--load", "101"],
        &["--server", "nowhere", "status"],
        &["operation", "put", "nonsense"],
        &[],
    ] {
        let mut command = sandbox.command("kittyctl");
        command.args(wrong);
        let done = sandbox.finish(command);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{wrong:?}: {done}");
    }
    let mut command = sandbox.command("kittyctl");
    command.args(["unleash", "memory", "--help"]);
    let done = sandbox.finish(command);
    assert_eq!(done.code, 0, "{done}");
    assert!(done.stdout.contains("Examples:\n  kittyctl unleash memory --group nginx"), "{done}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("kittyctl");
    command.args(["completion", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut talk = String::new();
    child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert_eq!((child.wait().unwrap().code(), talk.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_told() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("kittyctl");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    command.args(["completion", "bash"]).stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left on device"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_messages_or_names() {
    let stage = Stage::set().await;
    let table = stage.kittyctl(&["target", "list", "--platform", "process"]);
    assert_eq!(table.code, 0, "{table}");
    assert!(table.stdout.starts_with("ID") && table.stdout.contains(&stage.target), "{table}");
    assert!(!table.stdout.contains('\u{1b}') && !table.stdout.contains(" \n"), "{table}");

    let json = stage.kittyctl(&["-o", "json", "target", "list"]).json();
    assert_eq!(json["targets"][0]["platformType"], "ProcessPlatform", "{json}");
    assert_eq!(json["nextPageToken"], "", "empty fields are printed: {json}");

    let names = stage.kittyctl(&["target", "list", "-o", "name"]);
    assert_eq!(names.stdout, format!("{}\n", stage.target), "{names}");

    let yaml = stage.kittyctl(&["agent", "list", "-o", "yaml"]);
    assert!(yaml.stdout.contains("agents:\n- id: web-1\n"), "{yaml}");

    let status = stage.kittyctl(&["status"]);
    assert!(status.stdout.contains("RUNNING") && status.stdout.contains("1 agents"), "{status}");
    let platforms = stage.kittyctl(&["platform", "list"]);
    assert!(platforms.stdout.contains("ProcessPlatform"), "{platforms}");

    let nothing = stage.kittyctl(&["action", "list"]);
    assert_eq!((nothing.code, nothing.stdout.as_str(), nothing.stderr.as_str()), (0, "", "no actions\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_told_from_its_order_to_its_end() {
    let stage = Stage::set().await;
    let unleash = ["unleash", "delay", "--target", &stage.target, "--hold", "200ms"];
    let done = stage.kittyctl(&unleash);
    assert_eq!(done.code, 0, "{done}");
    assert!(done.stdout.contains("REVERTED") && done.stdout.contains("held 20"), "{done}");
    assert!(done.stderr.contains("STARTED delay for 200ms"), "progress is talk: {done}");

    let stream = stage.kittyctl(&[&unleash[..], &["-o", "json"]].concat());
    let states: Vec<String> = stream
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["state"].to_string())
        .collect();
    assert_eq!(states.last().map(String::as_str), Some("\"REVERTED\""), "{stream}");

    let name = stage.kittyctl(&[&unleash[..], &["-o", "name", "--no-wait"]].concat());
    let id = name.stdout.trim();
    assert_eq!(name.code, 0, "{name}");
    let got = stage.kittyctl(&["action", "get", id, "-o", "json"]).json();
    assert_eq!(got["id"], id);
    let stopped = stage.kittyctl(&["action", "stop", id]);
    assert_eq!(stopped.code, 0, "{stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_exit_code_1_with_number_and_hint() {
    let stage = Stage::set().await;
    let unknown = stage.kittyctl(&["unleash", "gc", "--target", "nobody"]);
    assert_eq!(unknown.code, 1, "{unknown}");
    assert!(unknown.stderr.contains("error: 13007: ") && unknown.stderr.contains("hint: "), "{unknown}");

    let unsupported = stage.kittyctl(&["unleash", "error", "--target", &stage.target, "--duration", "1s"]);
    assert_eq!(unsupported.code, 1, "{unsupported}");
    assert!(unsupported.stderr.contains("error: 63002: "), "{unsupported}");

    let action = stage.kittyctl(&["action", "get", "01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11"]);
    assert_eq!(action.code, 1, "{action}");
    assert!(action.stderr.contains("error: 63003: "), "{action}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_unleash_puts_its_fault_back() {
    let stage = Stage::set().await;
    let mut command = stage.sandbox.command("kittyctl");
    command.args(["--server", &stage.server.address(), "unleash", "delay"]).args([
        "--target",
        &stage.target,
        "--duration",
        "10m",
    ]);
    let mut unleash = Process::start("unleash", command, stage.sandbox.path());
    wait_for("the fault is in force", || unleash.stderr().contains("STARTED"));
    assert_eq!(chaos_kitty_tests::process::state(stage.victim.pid()), Some('T'));
    unleash.signal(Signal::INT);
    let status = unleash.ended().await;
    assert_eq!(status.code(), Some(130), "{}", unleash.stderr());
    assert!(unleash.stdout().contains("REVERTED"), "{}", unleash.stdout());
    assert_eq!(chaos_kitty_tests::process::state(stage.victim.pid()), Some('S'));
}

#[tokio::test(flavor = "multi_thread")]
async fn halt_reverts_what_is_in_force_and_refuses_the_rest_until_resume() {
    let stage = Stage::set().await;
    let unleash = ["unleash", "delay", "--target", &stage.target, "--duration", "10m", "--no-wait"];
    assert_eq!(stage.kittyctl(&unleash).code, 0);
    let halt = stage.kittyctl(&["halt", "--reason", "enough"]);
    assert_eq!(halt.code, 0, "{halt}");
    assert!(halt.stdout.contains("1 reverted") && halt.stdout.contains("0 left"), "{halt}");
    let refused = stage.kittyctl(&unleash);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: 61001: ") && refused.stderr.contains("resume"), "{refused}");
    assert!(stage.kittyctl(&["status"]).stdout.contains("HALTED"));
    assert!(stage.kittyctl(&["resume"]).stdout.contains("resumed"));
    assert!(stage.kittyctl(&["resume"]).stdout.contains("was not halted"));
    let again = stage.kittyctl(&["unleash", "delay", "--target", &stage.target, "--duration", "10ms"]);
    assert_eq!(again.code, 0, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_put_listed_and_deleted() {
    let stage = Stage::set().await;
    let put = stage.kittyctl(&["operation", "put", "hairball", "--interval", "1h", "--probability", "0.5"]);
    assert_eq!(put.code, 0, "{put}");
    assert!(put.stdout.contains("500ms to 5s"), "defaults are filled in: {put}");
    let list = stage.kittyctl(&["operation", "list", "-o", "json"]).json();
    assert_eq!(list["operations"][0]["operation"]["interval"], "3600s", "{list}");
    assert_eq!(stage.kittyctl(&["operation", "delete", "hairball"]).code, 0);
    let gone = stage.kittyctl(&["operation", "delete", "hairball"]);
    assert_eq!(gone.code, 1, "{gone}");
    assert!(gone.stderr.contains("error: 63004: "), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_seen_as_they_happen() {
    let stage = Stage::set().await;
    let mut command = stage.sandbox.command("kittyctl");
    command.args(["--server", &stage.server.address(), "event", "watch", "--kind", "halted", "-o", "json"]);
    let watch = Process::start("watch", command, stage.sandbox.path());
    // A watch begins when the server has it, which nothing shows: so halt until it is seen.
    wait_for("the watch shows a halt", || {
        assert_eq!(stage.kittyctl(&["halt"]).code, 0);
        assert_eq!(stage.kittyctl(&["resume"]).code, 0);
        watch.stdout().contains("\"halted\"")
    });
    let first: serde_json::Value = serde_json::from_str(watch.stdout().lines().next().unwrap()).unwrap();
    assert!(first["message"].is_string(), "{first}");
}

#[test]
fn the_demo_shows_every_effect_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("kittyctl");
    // Not under cargo: it takes the programs beside it.
    command.arg("demo").env("TMPDIR", sandbox.path());
    let done = sandbox.finish(command);
    assert_eq!(done.code, 0, "{done}");
    assert!(done.stdout.contains("all as it should be") && !done.stdout.contains('\u{1b}'), "{done}");
    for shown in ["delay", "memory", "cpu", "gc", "error", "script", "kill", "six operations", "halt"] {
        assert!(done.stdout.contains(shown), "{shown}: {done}");
    }
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0, "its folder is gone");
}

#[test]
fn an_interrupted_demo_takes_everything_with_it() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("kittyctl");
    command.arg("demo").env("TMPDIR", sandbox.path());
    let demo = Process::start("demo", command, sandbox.path());
    wait_for("the demo has begun", || demo.stdout().contains("Figures"));
    let started = chaos_kitty_tests::process::children(demo.pid());
    assert!(started.len() >= 5, "{started:?}");
    demo.signal(Signal::TERM);
    wait_for("all its programs have ended", || started.iter().all(|pid| !is_alive(*pid)));
}
