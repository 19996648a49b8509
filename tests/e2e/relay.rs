//! Workers and agents behind agents: worker → agent → agent → server.

use std::{collections::BTreeSet, time::Duration};

use chaos_kitty::{
    Code, Problem,
    client::{TlsFiles, dial},
    endpoint::Endpoint,
    limits,
    v1::{
        Action, ActionStatus, AgentMessage, AllocateMemory, Delay, Hello, Invoke, Kill, LeaseRenewal,
        RaiseError, ServerMessage, SpinCpu, TriggerGc, UnleashRequest, action::Kind, action_result,
        action_state::Name as State, agent_message::Kind as Up, agent_role::Name as Role, invoked,
        server_message::Kind as Down, unleash_request::Choice,
    },
};
use chaos_kitty_tests::{Agent, Sandbox, Server, eventually, process::is_alive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};
use tonic::Streaming;

/// A server with `upper` on it and `lower` behind that.
async fn chain(sandbox: &Sandbox) -> (Server, Agent, Agent) {
    let server = sandbox.server(&[]).await;
    let upper = sandbox.agent(&server, "upper", &[]).await;
    let lower = sandbox.agent_behind(&server, &upper.local(), "lower", &[]).await;
    (server, upper, lower)
}

fn for_a_moment(kind: Kind) -> Action {
    Action { duration: Some(Duration::from_millis(200).into()), kind: Some(kind) }
}

fn at_once(kind: Kind) -> Action {
    Action { duration: None, kind: Some(kind) }
}

#[tokio::test]
async fn a_worker_behind_two_agents_takes_every_action() {
    let sandbox = Sandbox::new();
    let (server, _upper, lower) = chain(&sandbox).await;
    let shop = sandbox.shop("till", &lower.local().to_string()).await;
    let target = server.target("till").await;
    assert_eq!(
        (target.platform_type.as_str(), target.pids.as_slice()),
        ("WorkerPlatform", [shop.process.pid()].as_slice())
    );
    let agents = server.agents().await;
    let worker = agents.iter().find(|agent| agent.id == target.agent_id).unwrap();
    assert_eq!(
        (worker.role(), worker.path.as_slice()),
        (Role::Worker, ["lower".to_owned(), "upper".to_owned()].as_slice())
    );

    let held = [
        Kind::Delay(Delay::default()),
        Kind::Memory(AllocateMemory { size_bytes: 8 << 20 }),
        Kind::Cpu(SpinCpu { cores: 1, load: 50 }),
        Kind::Error(RaiseError::default()),
    ];
    for kind in held {
        let over = server.unleash("till", for_a_moment(kind)).await.unwrap();
        assert_eq!(over.state(), State::Reverted, "{over:?}");
        assert!(over.result.is_some() && !over.evidence.is_empty(), "{over:?}");
    }
    let over = server.unleash("till", at_once(Kind::Gc(TriggerGc {}))).await.unwrap();
    assert_eq!(over.state(), State::Done, "{over:?}");
    let over = server
        .unleash("till", at_once(Kind::Kill(Kill { signal: "KILL".to_owned(), ..Kill::default() })))
        .await;
    assert_eq!(over.unwrap().state(), State::Done);
    eventually("the worker is gone", async || (!is_alive(shop.process.pid())).then_some(())).await;
    eventually("its target is gone", async || server.targets().await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn ids_are_unique_wherever_workers_attach() {
    let sandbox = Sandbox::new();
    let (server, upper, lower) = chain(&sandbox).await;
    let places = [server.address(), upper.local().to_string(), lower.local().to_string()];
    let mut shops = Vec::new();
    for (at, place) in places.iter().enumerate() {
        shops.push(sandbox.shop(&format!("till-{at}"), place).await);
    }
    let targets =
        eventually("all are seen", async || Some(server.targets().await).filter(|all| all.len() == 3)).await;
    let ids: BTreeSet<_> = targets.iter().map(|target| target.id.as_str()).collect();
    let pids: BTreeSet<_> = targets.iter().flat_map(|target| target.pids.clone()).collect();
    assert_eq!((ids.len(), pids.len()), (3, 3), "{targets:?}");
}

#[tokio::test]
async fn when_a_relay_dies_the_workers_behind_it_come_back_with_the_next_one() {
    let sandbox = Sandbox::new();
    let (server, upper, mut lower) = chain(&sandbox).await;
    let _shop = sandbox.shop("till", &lower.local().to_string()).await;
    let before = server.target("till").await;
    lower.process.kill();
    eventually("the worker is cut off", async || {
        server
            .agents()
            .await
            .iter()
            .all(|agent| agent.id != before.agent_id || !agent.connected)
            .then_some(())
    })
    .await;
    let _lower = sandbox.agent_behind(&server, &upper.local(), "lower", &[]).await;
    eventually("the worker is back", async || {
        server.agents().await.into_iter().find(|agent| agent.id == before.agent_id && agent.connected)
    })
    .await;
    assert_eq!(server.target("till").await.incarnation, before.incarnation);
    let over = server.unleash("till", for_a_moment(Kind::Delay(Delay::default()))).await.unwrap();
    assert_eq!(over.state(), State::Reverted, "{over:?}");
}

#[tokio::test]
async fn a_killed_worker_is_gone_at_once_at_any_depth() {
    let sandbox = Sandbox::new();
    let (server, _upper, lower) = chain(&sandbox).await;
    let mut shop = sandbox.shop("till", &lower.local().to_string()).await;
    server.target("till").await;
    shop.process.kill();
    eventually("worker and target are gone", async || {
        let agents = server.agents().await;
        (server.targets().await.is_empty() && agents.len() == 2).then_some(())
    })
    .await;
}

/// A worker that the test plays by the protocol alone, as a client in any language would.
struct Played {
    out: mpsc::Sender<AgentMessage>,
    inbound: Streaming<ServerMessage>,
}

impl Played {
    async fn attach(at: &Endpoint, id: &str) -> Result<Self, Problem> {
        let hello = Hello {
            agent_id: id.to_owned(),
            host: "played".to_owned(),
            pid: 1,
            role: Role::Worker.into(),
            name: id.to_owned(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            ..Hello::default()
        };
        let (out, outgoing) = mpsc::channel(16);
        let played = |kind| AgentMessage { node: String::new(), kind: Some(kind) };
        out.send(played(Up::Hello(hello))).await.unwrap();
        let mut client = dial(at, &TlsFiles::default()).await?;
        let inbound =
            client.attach(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await?.into_inner();
        Ok(Self { out, inbound })
    }

    async fn say(&self, kind: Up) {
        self.out.send(AgentMessage { node: String::new(), kind: Some(kind) }).await.unwrap();
    }

    /// The next message that is no renewal; those are answered.
    async fn hear(&mut self) -> Down {
        loop {
            let message = self.inbound.message().await.unwrap().expect("the stream goes on");
            match message.kind.expect("a kind") {
                Down::Renewal(LeaseRenewal { number, .. }) => {
                    self.say(Up::Renewal(LeaseRenewal { number, ..LeaseRenewal::default() })).await;
                }
                other => return other,
            }
        }
    }

    /// All updates of a call, to its end.
    async fn invoke(
        &mut self,
        call: u64,
        target: &str,
        action: Action,
    ) -> Result<Vec<ActionStatus>, Problem> {
        let request = UnleashRequest {
            action: Some(action),
            choice: Some(Choice::Target(target.to_owned())),
            ..UnleashRequest::default()
        };
        self.say(Up::Invoke(Invoke { call, request: Some(request) })).await;
        let mut updates = Vec::new();
        loop {
            let Down::Invoked(answer) = self.hear().await else { continue };
            assert_eq!(answer.call, call);
            match answer.kind.expect("an answer") {
                invoked::Kind::Update(update) => updates.push(update),
                invoked::Kind::Problem(problem) => return Err(problem.into()),
                invoked::Kind::End(_) => return Ok(updates),
            }
        }
    }
}

#[tokio::test]
async fn a_worker_unleashes_on_another_one_through_the_server() {
    let sandbox = Sandbox::new();
    let (server, upper, lower) = chain(&sandbox).await;
    let _shop = sandbox.shop("till", &upper.local().to_string()).await;
    server.target("till").await;
    let mut caller = Played::attach(&lower.local(), "caller").await.unwrap();
    assert!(matches!(caller.hear().await, Down::Welcome(_)));
    let updates = caller.invoke(1, "till", for_a_moment(Kind::Delay(Delay::default()))).await.unwrap();
    let last = updates.last().unwrap();
    assert_eq!(last.state(), State::Reverted, "{updates:?}");
    assert!(matches!(last.result.as_ref().unwrap().kind, Some(action_result::Kind::Delay(_))));
    let refused = caller.invoke(2, "nobody", at_once(Kind::Gc(TriggerGc {}))).await.unwrap_err();
    assert_eq!(refused.code, Code::NoSuchTarget);
}

#[tokio::test]
async fn a_loop_of_agents_is_refused_and_said() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let agent = sandbox.agent(&server, "web-1", &[]).await;
    let refused = Played::attach(&agent.local(), "web-1").await.err().expect("a refusal");
    assert_eq!(refused.code, Code::RelayLoop);
    assert!(!refused.hint.is_empty());
}

#[tokio::test]
async fn garbage_and_silence_on_an_agents_socket_disturb_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut agent = sandbox.agent(&server, "web-1", &[]).await;
    let shop = sandbox.shop("till", &agent.local().to_string()).await;
    server.target("till").await;
    let Endpoint::Unix(path) = agent.local() else { panic!("a Unix socket") };
    let mut silent = UnixStream::connect(&path).await.unwrap();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let _its_answer_if_any = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ended = stream.read_to_end(&mut answer).await;
    }
    let over = server.unleash("till", at_once(Kind::Gc(TriggerGc {}))).await.unwrap();
    assert_eq!(over.state(), State::Done, "{over:?}");
    assert!(agent.process.is_running() && is_alive(shop.process.pid()));
    // Nothing was said on it: it is closed, after the time that a Hello may take and some more.
    let mut rest = Vec::new();
    assert!(tokio::time::timeout(limits::HELLO_TIMEOUT * 6, silent.read_to_end(&mut rest)).await.is_ok());
}
