//! What is told of a fault is what was seen of it: it failed, it was lost, or it never began.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
    time::Duration,
};

use chaos_kitty::{
    Code,
    v1::{
        self, RunScript, action::Kind, action_kind::Name as Action, action_result::Kind as Figures,
        action_state::Name as State, end_reason::Name as EndReason,
    },
};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, built, eventually,
    process::{self, Process},
};
use rustix::process::Signal;

const NOBODY: u32 = 65534;

fn sleeper(sandbox: &Sandbox, name: &str) -> Process {
    let program = sandbox.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    Process::start(name, command, sandbox.path())
}

fn pause(duration: Duration) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(Kind::Delay(v1::Delay::default())) }
}

/// A server that has a script of this text.
async fn with_script(sandbox: &Sandbox, name: &str, body: &str) -> Server {
    let folder = sandbox.path().join("scripts");
    fs::create_dir(&folder).unwrap();
    let header = "#!/bin/sh\n# Health check: true\n# Self healing: true\n";
    fs::write(folder.join(name), format!("{header}{body}\n")).unwrap();
    sandbox.server(&["--scripts-dir", folder.to_str().unwrap()]).await
}

fn run(name: &str) -> v1::Action {
    let script = RunScript { name: name.to_owned(), ..RunScript::default() };
    v1::Action { duration: Some(Duration::from_secs(30).into()), kind: Some(Kind::Script(script)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_is_a_failed_fault_and_exit_code_1() {
    let sandbox = Sandbox::new();
    let server = with_script(&sandbox, "fails.sh", "echo 'no such device' >&2\nexit 137").await;
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-fails"]).await;
    let sleeper = sleeper(&sandbox, "kitty-fails");
    let target = server.target(&format!("kitty-fails:{}", sleeper.pid())).await;
    let failed = server.unleash(&target.id, run("fails.sh")).await.unwrap();
    assert_eq!(failed.state(), State::Failed, "{failed:?}");
    let problem = failed.problem.unwrap();
    assert_eq!(problem.code, Code::ScriptFailed.number());
    assert!(problem.message.contains("137") && problem.message.contains("no such device"), "{problem:?}");
    let Some(Figures::Script(figures)) = failed.result.unwrap().kind else { panic!() };
    assert_eq!((figures.exit_code, figures.output.as_str()), (Some(137), "no such device\n"));

    let flags = ["unleash", "script", "--target", &target.id, "--duration", "3s", "fails.sh"];
    let finished = sandbox.kittyctl(&server.endpoint().to_string(), &flags);
    assert_eq!(finished.code, 1, "{finished}");
    assert!(finished.stderr.contains("no such device"), "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_ends_with_its_target_took_effect() {
    let sandbox = Sandbox::new();
    let body = "kill -KILL $KITTY_TARGET_PID\nsleep 0.1\nexit 137";
    let server = with_script(&sandbox, "kills.sh", body).await;
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-killed"]).await;
    let sleeper = sleeper(&sandbox, "kitty-killed");
    let target = server.target(&format!("kitty-killed:{}", sleeper.pid())).await;
    let over = server.unleash(&target.id, run("kills.sh")).await.unwrap();
    assert_eq!((over.state(), over.end_reason()), (State::Reverted, EndReason::TargetGone), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_done_early_is_completed() {
    let sandbox = Sandbox::new();
    let server = with_script(&sandbox, "done.sh", "exit 0").await;
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-done"]).await;
    let sleeper = sleeper(&sandbox, "kitty-done");
    let target = server.target(&format!("kitty-done:{}", sleeper.pid())).await;
    let over = server.unleash(&target.id, run("done.sh")).await.unwrap();
    assert_eq!((over.state(), over.end_reason()), (State::Reverted, EndReason::Completed), "{over:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_somebody_continues_is_told_as_seen() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-cont"]).await;
    let sleeper = sleeper(&sandbox, "kitty-cont");
    let target = server.target(&format!("kitty-cont:{}", sleeper.pid())).await;
    let started = server.started(&target.id, pause(Duration::from_secs(60))).await;
    process::signal(sleeper.pid(), Signal::CONT);
    let over = eventually("it is over", async || {
        let request = v1::GetActionRequest { id: started.id.clone() };
        let status = server.client().await.get_action(request).await.unwrap().into_inner();
        (status.state() != State::Started).then_some(status)
    })
    .await;
    assert_eq!(over.state(), State::Failed, "{over:?}");
    assert_eq!(over.problem.unwrap().code, Code::EffectLost.number());
    let Some(Figures::Delay(figures)) = over.result.unwrap().kind else { panic!() };
    assert!(figures.held.unwrap().seconds < 30, "{figures:?}");
    assert!(server.active().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_has_no_right_to_do_is_not_offered_and_never_stuck() {
    let sandbox = Sandbox::new();
    let everybody = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    everybody(sandbox.path(), 0o755);
    let server = sandbox.server(&[]).await;
    everybody(&sandbox.path().join("chaos_kitty.ipc"), 0o666);
    let own = sandbox.path().join("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    for program in ["kitty-agent", "kitty-guard"] {
        fs::copy(built(program), own.join(program)).unwrap();
        everybody(&own.join(program), 0o755);
    }
    let sleeper = sleeper(&sandbox, "kitty-owned");
    let as_built = Agent::command(&sandbox, &server.endpoint(), "host-1", &["--process", "kitty-owned"]);
    let mut command = Command::new(own.join("kitty-agent"));
    let state = own.join("state");
    let flags = ["--server", &server.endpoint().to_string(), "--name", "host-1", "--process", "kitty-owned"];
    command.args(flags).arg("--state").arg(&state).arg("--listen");
    command.arg(format!("unix:{}", own.join("agent.ipc").display()));
    command.current_dir(as_built.get_current_dir().unwrap()).uid(NOBODY).gid(NOBODY);
    let _agent = Process::start("host-1", command, sandbox.path());

    let target = server.target(&format!("kitty-owned:{}", sleeper.pid())).await;
    let offered: Vec<_> = target.actions().collect();
    for action in [Action::Delay, Action::Kill, Action::Gc, Action::Script] {
        assert!(!offered.contains(&action), "{action:?} is offered: {offered:?}");
    }
    let refused = server.unleash(&target.id, pause(Duration::from_secs(1))).await;
    let refused = refused.map(|status| status.problem.unwrap().hint);
    let why = refused.unwrap_or_else(|status| chaos_kitty::Problem::from(status).hint);
    assert!(why.contains("kitty-agent check"), "{why}");
    assert!(server.active().await.is_empty());
}
