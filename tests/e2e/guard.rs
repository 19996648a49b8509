//! Whatever dies or hangs, a paused process runs again.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chaos_kitty::v1::{self, action::Kind, end_reason::Name as EndReason};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually,
    process::{children, is_alive, signal, state, wait_for},
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
    paused_for(sandbox, lease, HOUR).await
}

async fn paused_for(sandbox: &Sandbox, lease: &str, time: Duration) -> (Server, Agent, Mouse) {
    let server = sandbox.server(&["--lease", lease]).await;
    let mouse = Mouse::start(sandbox);
    let agent = sandbox.agent(&server, "a", &["--process", &mouse.name]).await;
    let id = format!("{}:{}", mouse.name, mouse.child.id());
    let target = server.target(&id).await;
    let action = v1::Action { duration: Some(time.into()), kind: Some(Kind::Delay(v1::Delay::default())) };
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

/// The library of `faketime`: it reads what the time of day is to be from a file.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// What the library leaves in shared memory of processes that are killed.
#[derive(Default)]
struct Traces([u32; 2]);

impl Drop for Traces {
    fn drop(&mut self) {
        for pid in self.0 {
            for trace in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
                let _not_there = std::fs::remove_file(Path::new("/dev/shm").join(trace));
            }
        }
    }
}

#[tokio::test]
async fn a_fault_ends_in_time_though_the_clock_is_set_back_by_an_hour_meanwhile() {
    let mut traces = Traces::default();
    let mut sandbox = Sandbox::new();
    let clock = sandbox.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    for (name, value) in [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ] {
        sandbox.set(name, value);
    }
    let (server, agent, mouse) = paused_for(&sandbox, "15s", Duration::from_secs(3)).await;
    traces.0 = [server.process.pid(), agent.process.pid()];
    // It stands still before the agent looks at the clock.
    eventually("its start is told", async || {
        let active = server.active().await;
        active.iter().any(|action| action.state() == v1::action_state::Name::Started).then_some(())
    })
    .await;
    std::fs::write(&clock, "-1h").unwrap();
    wait_for("the mouse runs again", || !mouse.is_still());
    let mut client = server.client().await;
    let over = eventually("its end is told", async || {
        let actions =
            client.list_actions(v1::ListActionsRequest::default()).await.unwrap().into_inner().actions;
        actions.into_iter().find(|action| action.state() == v1::action_state::Name::Reverted)
    })
    .await;
    assert_eq!(over.end_reason(), EndReason::Deadline);
    let (started, ended) = (over.started_at.unwrap(), over.ended_at.unwrap());
    assert!(started.seconds - ended.seconds > 3000, "the clock was set back: {started:?}, {ended:?}");
}

#[tokio::test]
async fn what_a_host_slept_through_ends_as_soon_as_it_wakes() {
    let sandbox = Sandbox::new();
    let (server, agent, mouse) = paused(&sandbox, "2s").await;
    let guard = agent.guard();
    let everybody = [server.process.pid(), agent.process.pid(), guard];
    everybody.iter().for_each(|pid| signal(*pid, Signal::STOP));
    let woken_at = chaos_kitty::lease::boot_time() + Duration::from_secs(3);
    wait_for("the lease is over", || chaos_kitty::lease::boot_time() > woken_at);
    assert!(mouse.is_still(), "nobody was awake");
    signal(guard, Signal::CONT);
    wait_for("the guard alone has put it back", || !mouse.is_still());
    everybody.iter().for_each(|pid| signal(*pid, Signal::CONT));
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_no_process_stopped_and_no_guard_behind() {
    let sandbox = Sandbox::new();
    let (_server, mut agent, mouse) = paused(&sandbox, "60s").await;
    let guard = agent.guard();
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
    let guard = agent.guard();
    signal(guard, Signal::KILL);
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
    let guard = agent.guard();
    agent.process.signal(Signal::TERM);
    assert!(agent.process.ended().await.success());
    assert!(!mouse.is_still() && !is_alive(guard));
}

#[tokio::test]
async fn a_guard_that_hangs_goes_with_its_agent_that_is_told_to_end() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut agent = sandbox.agent(&server, "host-1", &[]).await;
    let guard = agent.guard();
    signal(guard, Signal::STOP);
    agent.process.signal(Signal::TERM);
    assert!(agent.process.ended().await.success());
    assert!(!is_alive(guard));
}
