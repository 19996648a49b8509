//! Processes of a host as targets: found by rules, and hurt without leaving a trace.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chaos_kitty::v1::{
    self, ActionStatus, RunScript, SpinCpu, action::Kind, action_result, action_state::Name as State,
    end_reason::Name as EndReason,
};
use chaos_kitty_tests::{
    Sandbox, Server, eventually,
    process::{self, Process, children, is_alive, wait_for},
};

/// A program under a name that no other test uses.
fn program(sandbox: &Sandbox, name: &str) -> PathBuf {
    let program = sandbox.path().join(name);
    std::fs::copy("/bin/sleep", &program).unwrap();
    program
}

fn sleeper(sandbox: &Sandbox, name: &str, program: &Path) -> Process {
    let mut command = Command::new(program);
    command.arg("600");
    Process::start(name, command, sandbox.path())
}

fn held(kind: Kind, duration: Duration) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(kind) }
}

fn reverted(status: &ActionStatus) -> action_result::Kind {
    assert_eq!(status.state(), State::Reverted, "{status:?}");
    status.result.clone().unwrap().kind.unwrap()
}

async fn refused(server: &Server, target: &str, action: v1::Action) -> v1::Problem {
    match server.unleash(target, action).await {
        Ok(status) => status.problem.clone().unwrap_or_else(|| panic!("not refused: {status:?}")),
        Err(status) => chaos_kitty::Problem::from(status).into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_match_come_and_go_as_targets() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-comes");
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-comes"]).await;
    let mut first = sleeper(&sandbox, "first", &program);
    let target = server.target(&format!("kitty-comes:{}", first.pid())).await;
    assert_eq!(target.id, format!("process/host-1/kitty-comes:{}", first.pid()));
    assert_eq!(
        (target.platform_type.as_str(), target.aggregation_identifier.as_str()),
        ("ProcessPlatform", "kitty-comes")
    );
    assert_eq!(target.pids, [first.pid()]);
    let second = sleeper(&sandbox, "second", &program);
    server.target(&format!("kitty-comes:{}", second.pid())).await;
    first.kill();
    eventually("the roster has forgotten the first", async || {
        let names: Vec<_> = server.targets().await.into_iter().map(|target| target.name).collect();
        (names == [format!("kitty-comes:{}", second.pid())]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_cpu_are_taken_and_given_back() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-hurt");
    let agent = sandbox.agent(&server, "host-1", &["--process", "kitty-hurt"]).await;
    let sleeper = sleeper(&sandbox, "sleeper", &program);
    let target = server.target(&format!("kitty-hurt:{}", sleeper.pid())).await;

    let memory = Kind::Memory(v1::AllocateMemory { size_bytes: 32 << 20 });
    let status = server.unleash(&target.id, held(memory, Duration::from_millis(300))).await.unwrap();
    match reverted(&status) {
        action_result::Kind::Memory(figures) => {
            assert_eq!((figures.resident_bytes, figures.returned_bytes), (32 << 20, 32 << 20));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(status.end_reason(), EndReason::Deadline);

    let cpu = Kind::Cpu(SpinCpu { cores: 1, load: 30 });
    let status = server.unleash(&target.id, held(cpu, Duration::from_secs(1))).await.unwrap();
    match reverted(&status) {
        action_result::Kind::Cpu(figures) => {
            assert!(figures.iterations > 0 && figures.achieved_load <= 36.0, "{figures:?}");
            assert_eq!((figures.threads, figures.requested_load), (1, 30.0));
        }
        other => panic!("{other:?}"),
    }
    let stressors = || stressors_of(agent.process.pid());
    wait_for("no stressor is left", || stressors().is_empty());
}

fn stressors_of(agent: u32) -> Vec<u32> {
    let is_stressor = |pid: &u32| process::name(*pid) == "kitty-stress" && is_alive(*pid);
    children(agent).into_iter().filter(is_stressor).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stressor_does_not_outlive_its_agent() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-orphan");
    let mut agent = sandbox.agent(&server, "host-1", &["--process", "kitty-orphan"]).await;
    let sleeper = sleeper(&sandbox, "sleeper", &program);
    let target = server.target(&format!("kitty-orphan:{}", sleeper.pid())).await;
    let cpu = held(Kind::Cpu(SpinCpu { cores: 1, load: 10 }), Duration::from_secs(600));
    let unleashed = async { server.unleash(&target.id, cpu).await };
    let killed = async {
        let stressor = eventually("the stressor runs", async || {
            let burns = |pid: &u32| process::cpu_time(*pid).is_some_and(|time| !time.is_zero());
            stressors_of(agent.process.pid()).into_iter().find(burns)
        })
        .await;
        agent.process.kill();
        wait_for("the stressor has ended", || !is_alive(stressor));
    };
    tokio::select! {
        _ = unleashed => panic!("it ended before its time"),
        () = killed => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_the_collection_runs_and_ends_with_all_its_processes() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-scripted");
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-scripted"]).await;
    let sleeper = sleeper(&sandbox, "sleeper", &program);
    let target = server.target(&format!("kitty-scripted:{}", sleeper.pid())).await;
    let script = RunScript { name: "cpuBurn.sh".into(), ..Default::default() };
    let status =
        server.unleash(&target.id, held(Kind::Script(script), Duration::from_secs(1))).await.unwrap();
    match reverted(&status) {
        action_result::Kind::Script(figures) => {
            assert_eq!(figures.exit_code, None, "{figures:?}");
            assert!(figures.ended_processes > 0, "{figures:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(status.end_reason(), EndReason::Deadline);
    assert!(is_alive(sleeper.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_done_is_refused_with_a_reason() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-refused");
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-refused", "--host-target"]).await;
    let sleeper = sleeper(&sandbox, "sleeper", &program);
    let target = server.target(&format!("kitty-refused:{}", sleeper.pid())).await;

    let error = held(Kind::Error(v1::RaiseError::default()), Duration::from_secs(1));
    let problem = refused(&server, &target.id, error).await;
    assert_eq!(problem.code, 63002, "{problem:?}");
    assert!(problem.hint.contains("SDK"), "{problem:?}");

    let gc = v1::Action { duration: None, kind: Some(Kind::Gc(v1::TriggerGc {})) };
    let problem = refused(&server, &target.id, gc).await;
    assert_eq!(problem.code, 63002, "a sleeper is no virtual machine: {problem:?}");

    let host = server.target("host-1").await;
    assert_eq!(host.id, "host/host-1");
    let delay = held(Kind::Delay(v1::Delay::default()), Duration::from_secs(1));
    assert_eq!(refused(&server, &host.id, delay).await.code, 63002);

    let memory = held(Kind::Memory(v1::AllocateMemory { size_bytes: 1 << 50 }), Duration::from_secs(1));
    let problem = refused(&server, &host.id, memory).await;
    assert!([63012, 61008].contains(&problem.code), "{problem:?}");

    let cpu = held(Kind::Cpu(SpinCpu { cores: 500, load: 1 }), Duration::from_secs(1));
    assert_eq!(refused(&server, &host.id, cpu).await.code, 63012);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_free_as_soon_as_its_fault_is_reverted() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-free");
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-free"]).await;
    let pair = [sleeper(&sandbox, "one", &program), sleeper(&sandbox, "two", &program)];
    let names = pair.each_ref().map(|process| format!("kitty-free:{}", process.pid()));
    for name in &names {
        server.target(name).await;
    }
    // Long enough for the agent's look to see it stand still.
    let delay = || held(Kind::Delay(v1::Delay::default()), Duration::from_millis(1500));
    for name in names.iter().cycle().take(4) {
        let ended = server.unleash(name, delay()).await.unwrap();
        assert_eq!(ended.state(), State::Reverted, "{ended:?}");
    }
    server.started(&names[0], held(Kind::Delay(v1::Delay::default()), Duration::from_secs(60))).await;
    let told = refused(&server, &names[1], delay()).await;
    assert!(
        told.code == 61002 && told.message.contains(" since ") && told.message.contains(" until "),
        "{told:?}"
    );
    let listed = server.target(&names[0]).await.standing.unwrap();
    assert!(!listed.action_id.is_empty() && listed.until.is_some(), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_generation_of_a_process_is_a_group_of_one() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let program = program(&sandbox, "kitty-heir");
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-heir"]).await;
    let mut process = sleeper(&sandbox, "first", &program);
    server.target(&format!("kitty-heir:{}", process.pid())).await;
    for _ in 0..3 {
        process.kill();
        process = sleeper(&sandbox, "next", &program);
        let name = format!("kitty-heir:{}", process.pid());
        server.target(&name).await;
        let delay = held(Kind::Delay(v1::Delay::default()), Duration::from_millis(10));
        assert_eq!(server.unleash(&name, delay).await.unwrap().state(), State::Reverted);
    }
}
