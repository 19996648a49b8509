//! The stream between agent and server when one of them, or the connection, goes away.

use std::{fs, process::Command, time::Duration};

use chaos_kitty::{
    Code, Problem,
    endpoint::Endpoint,
    v1::{
        Action, ActionStatus, Delay, GetActionRequest, StopActionRequest, UnleashRequest, action::Kind,
        action_state::Name as State, end_reason::Name as EndReason, unleash_request::Choice,
    },
};
use chaos_kitty_tests::{
    Sandbox, Server, eventually,
    process::{Process, is_alive, state},
    proxy::Proxy,
};
use rustix::process::Signal;

/// A process to be hurt, of a name that no other test uses.
fn sleeper(sandbox: &Sandbox, name: &str) -> Process {
    let program = sandbox.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    Process::start(name, command, sandbox.path())
}

fn delay(seconds: u64) -> Action {
    let kind = Some(Kind::Delay(Delay::default()));
    Action { duration: Some(Duration::from_secs(seconds).into()), kind }
}

/// Unleashes a delay and answers when it is in force, or what else becomes of it.
async fn pause(server: &Server, target: &str, seconds: u64) -> Result<ActionStatus, Problem> {
    let request = UnleashRequest {
        action: Some(delay(seconds)),
        choice: Some(Choice::Target(target.to_owned())),
        source: "test".to_owned(),
        ..UnleashRequest::default()
    };
    let mut updates = server.client().await.unleash(request).await?.into_inner();
    loop {
        let update = updates.message().await?.expect("an update before the end");
        if !matches!(update.state(), State::Admitted | State::Accepted) {
            return Ok(update);
        }
    }
}

async fn action(server: &Server, id: &str) -> ActionStatus {
    server.client().await.get_action(GetActionRequest { id: id.to_owned() }).await.unwrap().into_inner()
}

async fn runs_again(process: &Process) {
    eventually("the target runs again", async || state(process.pid()).filter(|state| *state != 'T')).await;
}

async fn sees(server: &Server, name: &str) -> String {
    let rule = |id: &str| id.split('/').next_back().is_some_and(|own| own.starts_with(name));
    eventually("the target is seen", async || {
        server.targets().await.into_iter().find(|target| rule(&target.id)).map(|target| target.id)
    })
    .await
}

async fn ends(server: &Server, id: &str) -> ActionStatus {
    eventually("the action is over", async || {
        let status = action(server, id).await;
        let over = [State::Reverted, State::Failed, State::Refused, State::Stuck];
        over.contains(&status.state()).then_some(status)
    })
    .await
}

#[tokio::test]
async fn an_agent_that_is_told_to_end_reverts_first_and_comes_back_under_its_id() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let victim = sleeper(&sandbox, "nap-restart");
    let mut agent = sandbox.agent(&server, "web-1", &["--process", "nap-restart"]).await;
    let target = sees(&server, "nap-restart").await;
    let held = pause(&server, &target, 300).await.unwrap();
    assert_eq!((held.state(), state(victim.pid())), (State::Started, Some('T')));

    agent.process.signal(Signal::TERM);
    assert!(agent.process.ended().await.success(), "{}", agent.process.stderr());
    assert_ne!(state(victim.pid()), Some('T'), "it ended before the target ran again");
    let over = ends(&server, &held.id).await;
    assert_eq!((over.state(), over.end_reason()), (State::Reverted, EndReason::Shutdown), "{over:?}");
    assert!(over.evidence.len() > held.evidence.len(), "no evidence of the revert: {over:?}");
    eventually("the agent is gone", async || server.agents().await.is_empty().then_some(())).await;

    let _agent = sandbox.agent(&server, "web-1", &["--process", "nap-restart"]).await;
    assert_eq!(sees(&server, "nap-restart").await, target);
}

#[tokio::test]
async fn what_is_held_goes_on_while_the_server_restarts_within_the_lease() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&[]).await;
    let victim = sleeper(&sandbox, "nap-server");
    let _agent = sandbox.agent(&server, "web-1", &["--process", "nap-server"]).await;
    let target = sees(&server, "nap-server").await;
    let held = pause(&server, &target, 300).await.unwrap();
    server.process.signal(Signal::TERM);
    assert!(server.process.ended().await.success());
    assert_eq!(state(victim.pid()), Some('T'), "an upgrade within the lease disturbs nothing");

    let server = sandbox.server(&[]).await;
    eventually("the agent is back", async || server.agents().await.into_iter().find(|agent| agent.connected))
        .await;
    let known = eventually("the action goes on", async || {
        server
            .active()
            .await
            .into_iter()
            .find(|action| action.id == held.id && action.state() == State::Started)
    })
    .await;
    assert_eq!((known.target_id.as_str(), state(victim.pid())), (target.as_str(), Some('T')));
    let stopped =
        server.client().await.stop_action(StopActionRequest { id: held.id }).await.unwrap().into_inner();
    assert_eq!((stopped.state(), stopped.end_reason()), (State::Reverted, EndReason::Stopped));
    assert_ne!(state(victim.pid()), Some('T'));
}

#[tokio::test]
async fn an_order_that_waited_for_a_stopped_agent_is_not_carried_out() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "2s"]).await;
    let victim = sleeper(&sandbox, "nap-late");
    let agent = sandbox.agent(&server, "web-1", &["--process", "nap-late"]).await;
    let target = sees(&server, "nap-late").await;
    agent.process.signal(Signal::STOP);
    let unanswered = pause(&server, &target, 300).await.unwrap();
    assert!(matches!(unanswered.state(), State::Unknown | State::Failed), "never done: {unanswered:?}");
    let over = ends(&server, &unanswered.id).await;
    let code = over.problem.as_ref().and_then(|problem| Code::from_number(problem.code));
    assert_eq!((over.state(), code), (State::Failed, Some(Code::NoAnswer)), "{over:?}");
    agent.process.signal(Signal::CONT);
    takes_orders(&server, &target).await;
    let carried_out = format!("over action=\"{}\" state=Reverted", unanswered.id);
    assert!(!agent.process.stderr().contains(&carried_out), "{}", agent.process.stderr());
    assert_ne!(state(victim.pid()), Some('T'));
}

/// A short delay succeeds, once the agent is back.
async fn takes_orders(server: &Server, target: &str) {
    let again = eventually("the agent takes orders", async || {
        pause(server, target, 1).await.ok().filter(|update| update.state() == State::Started)
    })
    .await;
    assert_eq!(ends(server, &again.id).await.end_reason(), EndReason::Deadline);
}

async fn loses_its_server(break_it: fn(&Proxy), victim_name: &str) {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "2s"]).await;
    let Endpoint::Unix(socket) = server.endpoint() else { panic!("a Unix socket") };
    let proxy = Proxy::new(&sandbox.path().join("proxy.ipc"), &socket);
    let victim = sleeper(&sandbox, victim_name);
    let _agent = sandbox.agent_behind(&server, &proxy.endpoint(), "web-1", &["--process", victim_name]).await;
    let target = sees(&server, victim_name).await;
    let held = pause(&server, &target, 300).await.unwrap();
    assert_eq!((held.state(), state(victim.pid())), (State::Started, Some('T')));
    break_it(&proxy);
    runs_again(&victim).await;
    let over = ends(&server, &held.id).await;
    let code = over.problem.as_ref().and_then(|problem| Code::from_number(problem.code));
    // Nobody saw its end, so it is not called reverted.
    assert_eq!((over.state(), over.end_reason()), (State::Failed, EndReason::Lease), "{over:?}");
    assert_eq!(code, Some(Code::NoAnswer));
    assert!(over.assumed, "{over:?}");
    proxy.heal();
    let seen = eventually("the agent says how it ended", async || {
        Some(action(&server, &held.id).await).filter(|status| status.state() == State::Reverted)
    })
    .await;
    assert_eq!((seen.end_reason(), seen.assumed), (EndReason::Lease, false), "{seen:?}");
    assert!(seen.evidence.len() > held.evidence.len(), "no evidence of the revert: {seen:?}");
    takes_orders(&server, &target).await;
}

#[tokio::test]
async fn a_fault_ends_with_its_lease_when_the_connection_is_cut() {
    loses_its_server(Proxy::cut, "nap-cut").await;
}

#[tokio::test]
async fn a_fault_ends_with_its_lease_when_the_network_swallows_everything() {
    loses_its_server(Proxy::freeze, "nap-frozen").await;
}

#[tokio::test]
async fn of_two_agents_with_one_id_the_living_one_stays_and_the_other_says_why() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let agent = sandbox.agent(&server, "web-1", &[]).await;
    let first = server.agents().await.remove(0);
    let mut command = sandbox.command("kitty-agent");
    command
        .args(["--server", &server.address(), "--name", "web-1", "--state"])
        .arg(sandbox.path().join("other"));
    let clone = Process::start("clone", command, sandbox.path());
    let told = Code::DuplicateAgent.number().to_string();
    eventually("the second one is told", async || clone.stderr().contains(&told).then_some(())).await;
    assert!(is_alive(clone.pid()), "it tries again, in case the first one goes");
    let agents = server.agents().await;
    assert_eq!(
        (agents.len(), agents[0].pid, agents[0].connection_id),
        (1, agent.process.pid(), first.connection_id)
    );
    drop(agent);
    eventually("the second one takes its place", async || {
        server.agents().await.into_iter().find(|listed| listed.connected && listed.pid == clone.pid())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_halts_on_exit_reverts_first_and_the_next_one_is_not_halted() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&["--halt-on-exit"]).await;
    let victim = sleeper(&sandbox, "nap-exit");
    let _agent = sandbox.agent(&server, "web-1", &["--process", "nap-exit"]).await;
    let held = pause(&server, &sees(&server, "nap-exit").await, 300).await.unwrap();
    assert_eq!((held.state(), state(victim.pid())), (State::Started, Some('T')));
    server.process.signal(Signal::TERM);
    assert!(server.process.ended().await.success());
    assert_ne!(state(victim.pid()), Some('T'), "it ended before the target ran again");
    let server = sandbox.server(&[]).await;
    assert!(!server.status().await.halted);
}

#[tokio::test]
async fn a_second_signal_ends_a_server_at_once_whatever_it_waits_for() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.server(&["--halt-on-exit"]).await;
    let agent = sandbox.agent(&server, "web-1", &[]).await;
    agent.process.signal(Signal::STOP);
    server.process.signal(Signal::TERM);
    eventually("it was told once", async || server.process.stderr().contains("told to end").then_some(()))
        .await;
    server.process.signal(Signal::TERM);
    assert!(server.process.ended().await.success());
    assert!(server.process.stderr().contains("told to end again"), "{}", server.process.stderr());
    agent.process.signal(Signal::CONT);
}
