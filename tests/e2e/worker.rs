//! Workers of the SDK against the real server: the example service, as its users feel it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code, Problem,
    client::{TlsFiles, dial},
    limits,
    v1::{
        self, ActionStatus, AgentMessage, Hello, Invoke, ServerMessage, UnleashRequest, action::Kind as Do,
        action_result::Kind as Figures, action_state::Name as State, agent_message::Kind as Up,
        agent_role::Name as Role, end_reason::Name as EndReason, server_message::Kind as Down,
    },
};
use chaos_kitty_tests::{Sandbox, Server, Shop, eventually, process};
use rustix::process::Signal;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const SECOND: Duration = Duration::from_secs(1);

fn action(duration: Option<Duration>, kind: Do) -> v1::Action {
    v1::Action { duration: duration.map(Into::into), kind: Some(kind) }
}

fn delay(duration: Duration) -> v1::Action {
    action(Some(duration), Do::Delay(v1::Delay::default()))
}

fn kill(signal: &str) -> v1::Action {
    action(None, Do::Kill(v1::Kill { signal: signal.to_owned(), ..v1::Kill::default() }))
}

fn boom(duration: Duration, probability: f64) -> v1::Action {
    let probability = Some(probability);
    let error = v1::RaiseError { message: "boom".to_owned(), probability, ..Default::default() };
    action(Some(duration), Do::Error(error))
}

fn gc() -> v1::Action {
    action(None, Do::Gc(v1::TriggerGc {}))
}

fn figures(status: &ActionStatus) -> &Figures {
    status.result.as_ref().and_then(|result| result.kind.as_ref()).unwrap_or_else(|| panic!("{status:?}"))
}

fn length(duration: &Option<pbjson_types::Duration>) -> Duration {
    duration.unwrap().try_into().unwrap()
}

/// A server with one worker.
async fn shop(sandbox: &Sandbox, flags: &[&str]) -> (Server, Shop) {
    let server = sandbox.server(flags).await;
    let shop = sandbox.shop("till", &server.address()).await;
    server.target("till").await;
    (server, shop)
}

/// Begins an action and answers its first status that fits, with the rest of the answer under way.
async fn begun(
    server: &Server,
    action: v1::Action,
    state: State,
) -> (ActionStatus, JoinHandle<ActionStatus>) {
    let request = UnleashRequest {
        action: Some(action),
        choice: Some(v1::unleash_request::Choice::Target("till".to_owned())),
        ..Default::default()
    };
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    let mut last = None;
    while last.as_ref().is_none_or(|status: &ActionStatus| status.state() != state) {
        last = updates.message().await.unwrap();
        assert!(last.is_some(), "the answer ended before {state:?}");
    }
    let mut last = last.unwrap();
    let first = last.clone();
    let rest = tokio::spawn(async move {
        while let Some(update) = updates.message().await.unwrap() {
            last = update;
        }
        last
    });
    (first, rest)
}

#[tokio::test]
async fn a_worker_is_a_target_with_the_pid_that_its_socket_tells() {
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &[]).await;
    let target = server.target("till").await;
    assert_eq!(target.platform_type, "WorkerPlatform");
    assert_eq!((target.aggregation_identifier.as_str(), target.labels["tier"].as_str()), ("shop", "web"));
    assert_eq!(target.pids, [shop.process.pid()]);
}

#[tokio::test]
async fn a_delay_stands_the_service_still_while_its_control_channel_answers() {
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &[]).await;
    let (_, rest) = begun(&server, delay(5 * SECOND), State::Started).await;
    let began = Instant::now();
    let request = tokio::spawn({
        let http = shop.http.clone();
        async move { chaos_kitty_tests::http::request(&http, "GET", "/", &[], "").await }
    });
    let other = server.unleash("till", gc()).await.unwrap();
    assert_eq!(other.state(), State::Done, "{other:?}");
    assert!(!request.is_finished() && !rest.is_finished(), "all of that within the five seconds");
    let (status, _) = request.await.unwrap().unwrap();
    assert_eq!(status, 200);
    assert!(began.elapsed() > 3 * SECOND, "{:?}", began.elapsed());
    let over = rest.await.unwrap();
    assert_eq!((over.state(), over.end_reason()), (State::Reverted, EndReason::Deadline), "{over:?}");
    let Figures::Delay(result) = figures(&over) else { panic!("{over:?}") };
    assert!(length(&result.held) >= 5 * SECOND && result.means == "executor", "{result:?}");
}

#[tokio::test]
async fn a_fifth_of_the_requests_fail_with_the_message_and_none_afterwards() {
    // Enough that three points are nearly five sigma: a sound build fails this once in 400,000 runs.
    const REQUESTS: u32 = 4000;
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &[]).await;
    let (started, rest) = begun(&server, boom(300 * SECOND, 0.2), State::Started).await;
    let mut failed = 0;
    for _ in 0..REQUESTS {
        match shop.request().await.unwrap() {
            (200, _) => {}
            (500, body) if body == "boom" => failed += 1,
            other => panic!("{other:?}"),
        }
    }
    server.client().await.stop_action(v1::StopActionRequest { id: started.id }).await.unwrap();
    let over = rest.await.unwrap();
    assert_eq!((over.state(), over.end_reason()), (State::Reverted, EndReason::Stopped), "{over:?}");
    let share = f64::from(failed) / f64::from(REQUESTS);
    assert!((0.17..0.23).contains(&share), "{share}");
    assert_eq!(shop.request().await.unwrap().0, 200);
}

#[tokio::test]
async fn memory_is_in_the_services_rss_and_then_is_not() {
    const SIZE: u64 = 128 << 20;
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &[]).await;
    let resident = || process::resident(shop.process.pid()).unwrap();
    let before = resident();
    let memory = action(Some(SECOND), Do::Memory(v1::AllocateMemory { size_bytes: SIZE }));
    let (_, rest) = begun(&server, memory, State::Started).await;
    assert!(resident() >= before + SIZE, "{before} {}", resident());
    let over = rest.await.unwrap();
    let Figures::Memory(result) = figures(&over) else { panic!("{over:?}") };
    assert_eq!((result.resident_bytes, result.returned_bytes), (SIZE, SIZE), "{over:?}");
    assert!(resident() < before + SIZE / 2, "{before} {}", resident());
}

#[tokio::test]
async fn more_memory_than_the_service_may_have_is_refused_and_the_service_lives_on() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let shop = sandbox.command("shop");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 900000; exec \"$@\"", "sh"]).arg(shop.get_program());
    command.args(["--server", &server.address(), "--name", "till"]);
    let mut limited = process::Process::start("limited", command, sandbox.path());
    server.target("till").await;
    let memory = action(Some(SECOND), Do::Memory(v1::AllocateMemory { size_bytes: 2000 << 20 }));
    let over = server.unleash("till", memory).await.unwrap();
    assert_eq!(over.state(), State::Refused, "{over:?}");
    assert_eq!(over.problem.as_ref().map(|problem| problem.code), Some(Code::TooMuch.number()), "{over:?}");
    assert_eq!(server.unleash("till", gc()).await.unwrap().state(), State::Done);
    assert!(limited.is_running());
}

#[tokio::test]
async fn processor_time_is_burnt_in_the_service_itself() {
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &[]).await;
    let before = process::cpu_time(shop.process.pid()).unwrap();
    let spin = action(Some(SECOND), Do::Cpu(v1::SpinCpu { cores: 1, load: 50 }));
    let over = server.unleash("till", spin).await.unwrap();
    let burnt = process::cpu_time(shop.process.pid()).unwrap() - before;
    let Figures::Cpu(result) = figures(&over) else { panic!("{over:?}") };
    let told = length(&result.cpu_time);
    assert!(told > SECOND / 20 && told < SECOND * 3 / 4, "{told:?}");
    // The kernel's accounting of the process is in ticks of 10 ms.
    assert!(burnt + Duration::from_millis(50) >= told, "{burnt:?} of {told:?}");
}

#[tokio::test]
async fn a_worker_that_is_to_be_killed_signals_itself() {
    let sandbox = Sandbox::new();
    let (server, mut shop) = shop(&sandbox, &[]).await;
    let over = server.unleash("till", kill("KILL")).await.unwrap();
    let status = shop.process.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(matches!(over.state(), State::Done | State::Failed), "{over:?}");
    eventually("it is no target any more", async || server.targets().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn killing_a_worker_in_mid_action_tells_the_caller_and_takes_the_target_away() {
    let sandbox = Sandbox::new();
    let (server, mut shop) = shop(&sandbox, &[]).await;
    let (_, rest) = begun(&server, boom(60 * SECOND, 1.0), State::Started).await;
    shop.process.kill();
    let over = timeout(chaos_kitty_tests::patience(), rest).await.unwrap().unwrap();
    assert_eq!(over.end_reason(), EndReason::TargetGone, "{over:?}");
    assert!(server.targets().await.is_empty());
}

#[tokio::test]
async fn a_call_to_a_worker_that_was_stopped_is_answered_as_unknown_and_not_left_open() {
    let sandbox = Sandbox::new();
    let (server, shop) = shop(&sandbox, &["--lease", "2s"]).await;
    shop.process.signal(Signal::STOP);
    let answer =
        timeout(chaos_kitty_tests::patience(), server.unleash("till", boom(SECOND, 1.0))).await.unwrap();
    match answer {
        Ok(status) => assert!(matches!(status.state(), State::Unknown | State::Failed), "{status:?}"),
        Err(status) => {
            let code = Problem::from(status).code;
            assert!(matches!(code, Code::NoAnswer | Code::AgentUnreachable), "{code:?}");
        }
    }
    shop.process.signal(Signal::CONT);
    // Nothing that was ordered meanwhile takes effect now.
    server.target("till").await;
    assert_eq!(shop.request().await.unwrap().0, 200);
}

#[tokio::test]
async fn a_fault_ends_with_its_lease_when_the_server_is_gone_and_the_worker_comes_back() {
    let sandbox = Sandbox::new();
    let (mut server, shop) = shop(&sandbox, &["--lease", "2s"]).await;
    let (_, rest) = begun(&server, boom(300 * SECOND, 1.0), State::Started).await;
    rest.abort();
    server.process.kill();
    eventually("the lease ends it", async || (shop.request().await.ok()?.0 == 200).then_some(())).await;
    let again = sandbox.server(&["--lease", "2s"]).await;
    again.target("till").await;
}

#[tokio::test]
async fn a_worker_behind_an_agent_is_reached_and_reaches_others_through_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let agent = sandbox.agent(&server, "relay", &[]).await;
    let _till = sandbox.shop("till", &agent.local().to_string()).await;
    let _other = sandbox.shop("other", &server.address()).await;
    server.target("till").await;
    let over = server.unleash("till", gc()).await.unwrap();
    assert_eq!(over.state(), State::Done, "{over:?}");

    let mut caller = Raw::attach(&agent.local(), hello("caller-00000001")).await.unwrap();
    let states = caller.invoke("other", gc()).await;
    assert_eq!(states.last(), Some(&State::Done), "{states:?}");
}

/// A worker that says what a test wants.
struct Raw {
    inbound: Streaming<ServerMessage>,
    out: mpsc::Sender<AgentMessage>,
}

fn hello(id: &str) -> Hello {
    Hello {
        agent_id: id.to_owned(),
        host: "elsewhere".to_owned(),
        role: Role::Worker.into(),
        protocol_versions: vec![limits::PROTOCOL_VERSION],
        ..Default::default()
    }
}

impl Raw {
    /// Sends a Hello, and answers the refusal if it is one.
    async fn attach(endpoint: &chaos_kitty::endpoint::Endpoint, hello: Hello) -> Result<Self, Problem> {
        let mut client = dial(endpoint, &TlsFiles::default()).await.unwrap();
        let (out, queue) = mpsc::channel(16);
        out.send(AgentMessage { node: String::new(), kind: Some(Up::Hello(hello)) }).await.unwrap();
        let inbound = client.attach(ReceiverStream::new(queue)).await?.into_inner();
        let mut raw = Self { inbound, out };
        match raw.message().await? {
            Down::Welcome(_) => Ok(raw),
            Down::Refusal(refusal) => Err(refusal.problem.unwrap().into()),
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> Result<Down, Problem> {
        let message = timeout(chaos_kitty_tests::patience(), self.inbound.message()).await.unwrap()?;
        Ok(message.and_then(|message| message.kind).expect("the stream goes on"))
    }

    async fn send(&self, kind: Up) {
        self.out.send(AgentMessage { node: String::new(), kind: Some(kind) }).await.unwrap();
    }

    async fn renewed(&self, number: u64) {
        self.send(Up::Renewal(v1::LeaseRenewal { number, ..Default::default() })).await;
    }

    /// Calls another target, and answers the states that were told.
    async fn invoke(&mut self, target: &str, action: v1::Action) -> Vec<State> {
        let choice = Some(v1::unleash_request::Choice::Target(target.to_owned()));
        let request = UnleashRequest { action: Some(action), choice, ..Default::default() };
        self.send(Up::Invoke(Invoke { call: 7, request: Some(request) })).await;
        let mut states = Vec::new();
        loop {
            match self.message().await.unwrap() {
                Down::Renewal(renewal) => self.renewed(renewal.number).await,
                Down::Invoked(v1::Invoked { call: 7, kind: Some(kind) }) => match kind {
                    v1::invoked::Kind::Update(update) => states.push(update.state()),
                    v1::invoked::Kind::End(_) => return states,
                    v1::invoked::Kind::Problem(problem) => panic!("{problem:?}"),
                },
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_pid_that_a_worker_merely_claims_is_neither_shown_nor_signalled() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut command = Command::new("sleep");
    command.arg("1000");
    let mut bystander = process::Process::start("bystander", command, sandbox.path());
    let tcp = server.tcp().await.parse().unwrap();
    for (number, pid) in [bystander.pid(), 1, 0, u32::MAX].into_iter().enumerate() {
        let id = format!("liar-{number}");
        let claim = Hello { pid, name: id.clone(), ..hello(&id) };
        let mut liar = Raw::attach(&tcp, claim).await.unwrap();
        assert!(server.target(&id).await.pids.is_empty(), "claimed {pid}");
        let (client, target) = (server.client().await, id.clone());
        let ordered = tokio::spawn(async move {
            let choice = Some(v1::unleash_request::Choice::Target(target));
            let request = UnleashRequest { action: Some(kill("KILL")), choice, ..Default::default() };
            let mut client = client;
            client.unleash(request).await.unwrap().into_inner().message().await
        });
        // The order comes here, to the worker itself, and to nobody else.
        loop {
            match liar.message().await.unwrap() {
                Down::Start(start) => break assert!(start.target_id.ends_with(&id)),
                Down::Renewal(renewal) => liar.renewed(renewal.number).await,
                _ => {}
            }
        }
        ordered.await.unwrap().unwrap();
    }
    assert!(bystander.is_running());
}

#[tokio::test]
async fn a_worker_in_a_pid_namespace_is_known_by_its_real_pid_and_dies_of_its_own_kill() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let shop = sandbox.command("shop");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
    command.arg(shop.get_program()).args(["--server", &server.address(), "--name", "contained"]);
    let mut contained = process::Process::start("contained", command, sandbox.path());
    let target = server.target("contained").await;
    let children = process::children(contained.pid());
    assert_eq!(target.pids, children, "the pid that this namespace knows it by, not its own 1");
    let _ = server.unleash("contained", kill("TERM")).await.unwrap();
    // The first process of a namespace is immune to its own signals; it exits as if it were not.
    assert_eq!(contained.ended().await.code(), Some(128 + 15));
}

#[tokio::test]
async fn registrations_that_make_no_sense_are_refused_and_disturb_nobody() {
    let sandbox = Sandbox::new();
    let (server, _shop) = shop(&sandbox, &[]).await;
    let good = hello("good-00000001");
    for bad in [
        Hello { agent_id: String::new(), ..good.clone() },
        Hello { agent_id: "a/b".to_owned(), ..good.clone() },
        Hello { agent_id: "x".repeat(129), ..good.clone() },
        Hello { role: 99, ..good.clone() },
        Hello { protocol_versions: vec![99], ..good.clone() },
        Hello { name: "a\nb".to_owned(), ..good.clone() },
    ] {
        let what = format!("{bad:?}");
        assert!(Raw::attach(&server.endpoint(), bad).await.is_err(), "{what}");
    }
    assert!(Raw::attach(&server.endpoint(), good).await.is_ok());
    assert_eq!(server.unleash("till", gc()).await.unwrap().state(), State::Done);
}
