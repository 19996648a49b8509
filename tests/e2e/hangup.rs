//! A closed terminal, and a service manager that asks for the files to be read again: SIGHUP.

use std::{fs, os::unix::net::UnixDatagram};

use chaos_kitty_tests::{
    Sandbox, eventually, patience,
    process::{Process, state, wait_for},
};
use rustix::process::Signal;

use crate::cli::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_terminal_is_closed_puts_back_and_says_so() {
    let mut stage = Stage::set().await;
    let unleash = ["unleash", "delay", "--target", &stage.target, "--duration", "10m", "--no-wait"];
    assert_eq!(stage.kittyctl(&unleash).code, 0);
    wait_for("the victim is paused", || state(stage.victim.pid()) == Some('T'));
    stage.agent.process.signal(Signal::HUP);
    assert!(stage.agent.process.ended().await.success());
    assert_eq!(state(stage.victim.pid()), Some('S'));
    let listed = stage.kittyctl(&["action", "list"]);
    assert!(listed.stdout.contains("REVERTED"), "its end was told: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_terminal_is_closed_puts_back_as_with_ctrl_c() {
    let stage = Stage::set().await;
    let mut command = stage.sandbox.command("kittyctl");
    command.args(["--server", &stage.server.address(), "unleash", "delay"]);
    command.args(["--target", &stage.target, "--duration", "10m"]);
    let mut unleash = Process::start("unleash", command, stage.sandbox.path());
    wait_for("the victim is paused", || state(stage.victim.pid()) == Some('T'));
    unleash.signal(Signal::HUP);
    assert_eq!(unleash.ended().await.code(), Some(130), "{}", unleash.stderr());
    assert_eq!(state(stage.victim.pid()), Some('S'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_terminal_is_closed_ends_in_good_order() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&[]).await;
    server.process.signal(Signal::HUP);
    assert!(server.process.ended().await.success());
    assert!(server.process.stderr().contains("told to end"), "{}", server.process.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_that_was_ignored_at_the_start_stays_ignored() {
    let sandbox = Sandbox::new();
    let plain = sandbox.command("kittyd");
    let mut command = std::process::Command::new("nohup");
    command.arg(plain.get_program()).args(["--listen", "unix:a.ipc"]).current_dir(sandbox.path());
    let mut server = Process::start("nohup", command, sandbox.path());
    wait_for("it serves", || server.stderr().contains("kittyd serves"));
    server.signal(Signal::HUP);
    // The signals are taken in their order: had the first one ended it, it would have said so before the second.
    server.signal(Signal::USR1);
    let status = server.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::USR1.as_raw()));
    assert!(!server.stderr().contains("told to end"), "{}", server.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_has_log_and_policy_read_again() {
    let mut sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let path = sandbox.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(patience())).unwrap();
    sandbox.set("NOTIFY_SOCKET", path.to_str().unwrap());
    let policy = sandbox.path().join("policy.toml");
    fs::write(&policy, "").unwrap();
    let mut agent =
        sandbox.agent(&server, "web-1", &["--host-target", "--policy", policy.to_str().unwrap()]).await;
    until_told(&manager, "READY=1");
    for (text, told) in [("deny = [\"cpu\"]\n", "were read again"), ("nonsense", "can not be read again")] {
        fs::write(&policy, text).unwrap();
        agent.process.signal(Signal::HUP);
        assert!(until_told(&manager, "RELOADING=1").contains("MONOTONIC_USEC="));
        assert!(until_told(&manager, "READY=1").contains(told));
        refused(&sandbox, &server.address()).await;
    }
    assert!(agent.process.is_running());
}

/// What a service manager is told next that begins so.
fn until_told(manager: &UnixDatagram, wanted: &str) -> String {
    let mut bytes = [0; 256];
    loop {
        let length = manager.recv(&mut bytes).unwrap();
        let told = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if told.starts_with(wanted) {
            return told;
        }
    }
}

async fn refused(sandbox: &Sandbox, server: &str) {
    eventually("the policy forbids it", async || {
        let line = ["unleash", "cpu", "--target", "host/web-1", "--load", "1", "--duration", "100ms"];
        sandbox.kittyctl(server, &line).stderr.contains("61004").then_some(())
    })
    .await;
}
