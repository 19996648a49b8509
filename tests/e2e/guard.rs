//! Whatever dies or hangs, a paused process runs again.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use chaos_kitty::v1::{self, action::Kind, end_reason::Name as EndReason};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually,
    process::{children, is_alive, state, wait_for},
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

const HOUR: Duration = Duration::from_secs(3600);

/// A process of a name of its own, so that other tests' mice are no targets.
struct Mouse {
    name: String,
    child: Child,
}

impl Mouse {
    fn start(sandbox: &Sandbox) -> Self {
        let name = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "mouse");
        let program = sandbox.path().join(&name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let child = Command::new(program).arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self { name, child }
    }

    fn is_still(&self) -> bool {
        state(self.child.id()) == Some('T')
    }
}

impl Drop for Mouse {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A server with this lease, and an agent that pauses a mouse for an hour.
async fn paused(sandbox: &Sandbox, lease: &str) -> (Server, Agent, Mouse) {
    let server = sandbox.server(&["--lease", lease]).await;
    let mouse = Mouse::start(sandbox);
    let agent = sandbox.agent(&server, "a", &["--process", &mouse.name]).await;
    let id = format!("{}:{}", mouse.name, mouse.child.id());
    let target = server.target(&id).await;
    let action = v1::Action { duration: Some(HOUR.into()), kind: Some(Kind::Delay(v1::Delay::default())) };
    let (mut client, request) = (
        server.client().await,
        v1::UnleashRequest {
            action: Some(action),
            choice: Some(v1::unleash_request::Choice::Target(target.id)),
            source: "test".to_owned(),
            ..Default::default()
        },
    );
    let updates = client.unleash(request).await.unwrap();
    eventually("the mouse stands still", async || mouse.is_still().then_some(())).await;
    drop(updates);
    (server, agent, mouse)
}

/// The guard of an agent.
fn guard_of(agent: &Agent) -> u32 {
    let comm = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    children(agent.process.pid()).into_iter().find(|pid| comm(pid).trim() == "kitty-guard").unwrap()
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_no_process_stopped_and_no_guard_behind() {
    let sandbox = Sandbox::new();
    let (_server, mut agent, mouse) = paused(&sandbox, "60s").await;
    let guard = guard_of(&agent);
    agent.process.kill();
    wait_for("the mouse runs again", || !mouse.is_still());
    wait_for("the guard is gone", || !is_alive(guard));
}

#[tokio::test]
async fn a_child_of_the_agent_that_holds_its_sockets_open_does_not_hide_its_death() {
    let sandbox = Sandbox::new();
    let (_server, mut agent, mouse) = paused(&sandbox, "60s").await;
    let pid = rustix::process::Pid::from_raw(agent.process.pid().try_into().unwrap()).unwrap();
    let of_agent = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    // What a child between its fork and its exec does: every descriptor has one more owner.
    let numbers = std::fs::read_dir(format!("/proc/{}/fd", agent.process.pid())).unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let held: Vec<_> =
        numbers.filter_map(|number| pidfd_getfd(&of_agent, number, PidfdGetfdFlags::empty()).ok()).collect();
    assert!(held.len() > 3);
    agent.process.kill();
    wait_for("the mouse runs again", || !mouse.is_still());
}

#[tokio::test]
async fn an_agent_that_hangs_leaves_nothing_stopped_beyond_the_lease() {
    let sandbox = Sandbox::new();
    let (_server, agent, mouse) = paused(&sandbox, "2s").await;
    agent.process.signal(Signal::STOP);
    wait_for("the mouse runs again", || !mouse.is_still());
    agent.process.signal(Signal::CONT);
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_nothing_stopped_beyond_the_lease() {
    let sandbox = Sandbox::new();
    let (mut server, _agent, mouse) = paused(&sandbox, "2s").await;
    server.process.kill();
    wait_for("the mouse runs again", || !mouse.is_still());
}

#[tokio::test]
async fn a_guard_that_is_killed_is_replaced_and_the_server_hears_how_the_fault_ended() {
    let sandbox = Sandbox::new();
    let (server, agent, mouse) = paused(&sandbox, "60s").await;
    let action = server.active().await.remove(0);
    let guard = guard_of(&agent);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(guard.try_into().unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    wait_for("the mouse runs again", || !mouse.is_still());
    let over = eventually("the server hears of it", async || {
        let request = v1::GetActionRequest { id: action.id.clone() };
        let status = server.client().await.get_action(request).await.unwrap().into_inner();
        (status.end_reason() != EndReason::Unspecified).then_some(status)
    })
    .await;
    assert_eq!(over.end_reason(), EndReason::GuardGone);
    let another = || children(agent.process.pid()).iter().any(|pid| *pid != guard);
    wait_for("there is a new guard", another);
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_puts_back_what_it_held_and_takes_its_guard_along() {
    let sandbox = Sandbox::new();
    let (_server, mut agent, mouse) = paused(&sandbox, "60s").await;
    let guard = guard_of(&agent);
    agent.process.signal(Signal::TERM);
    assert!(agent.process.ended().await.success());
    assert!(!mouse.is_still() && !is_alive(guard));
}
