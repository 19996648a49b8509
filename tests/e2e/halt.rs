//! A halt reverts everything whatever the server has to fight with.

use std::{
    fs,
    io::Write,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use chaos_kitty::{
    Code, Problem,
    client::{TlsFiles, dial},
    endpoint::Endpoint,
    limits::PROTOCOL_VERSION,
    v1::{self, agent_message::Kind as Up, agent_role::Name as Role, halt_progress},
};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually, patience,
    process::{Process, state},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;

/// A process that stands still for a long time.
async fn paused(sandbox: &Sandbox, server: &Server) -> (Process, Agent) {
    let name = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "nap");
    let program = sandbox.path().join(&name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    let victim = Process::start(&name, command, sandbox.path());
    let agent = sandbox.agent(server, "web-1", &["--process", &name]).await;
    let target = server.target(&format!("{name}:{}", victim.pid())).await;
    let request = v1::UnleashRequest {
        action: Some(v1::Action {
            duration: Some(std::time::Duration::from_secs(3000).into()),
            kind: Some(v1::action::Kind::Delay(v1::Delay::default())),
        }),
        choice: Some(v1::unleash_request::Choice::Target(target.id)),
        ..Default::default()
    };
    server.client().await.unleash(request).await.unwrap();
    eventually("it stands still", async || (state(victim.pid()) == Some('T')).then_some(())).await;
    (victim, agent)
}

async fn halt(server: &Server) -> halt_progress::Summary {
    let mut progress = server.client().await.halt(v1::HaltRequest::default()).await.unwrap().into_inner();
    loop {
        let message = progress.message().await.unwrap().expect("a summary at the end");
        if let Some(halt_progress::Kind::Summary(summary)) = message.kind {
            return summary;
        }
    }
}

#[tokio::test]
async fn a_halt_reverts_everything_although_the_store_is_destroyed() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let (victim, _agent) = paused(&sandbox, &server).await;
    for file in ["chaos_kitty.db", "chaos_kitty.db-wal"] {
        let path = sandbox.path().join(file);
        let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        // In place: the server has the files open.
        let mut file = fs::File::options().write(true).open(path).unwrap();
        file.write_all(&vec![0xc1; length]).unwrap();
    }
    let unknown = v1::GetActionRequest { id: "0190a5d2-9f6e-7cc3-98c4-dc0c0c07398f".to_owned() };
    let unreadable = Problem::from(server.client().await.get_action(unknown).await.unwrap_err());
    assert_eq!(unreadable.code, Code::StoreUnavailable, "{unreadable}");

    let summary = halt(&server).await;
    assert_eq!((summary.reverted, summary.left), (1, 0), "{summary:?}");
    assert_ne!(state(victim.pid()), Some('T'));
    assert!(server.status().await.halted);
}

const STREAMS: usize = 50;

/// Agents that have something to say all the time, as much as the server takes.
struct Babble {
    streams: JoinSet<()>,
    said: Arc<AtomicUsize>,
}

impl Babble {
    fn start(server: &Server) -> Self {
        let (mut streams, said) = (JoinSet::new(), Arc::default());
        for number in 0..STREAMS {
            streams.spawn(babble(server.endpoint(), format!("babbler-{number}"), Arc::clone(&said)));
        }
        Self { streams, said }
    }

    async fn has_said(&self, more: usize) {
        let before = self.said.load(Relaxed);
        eventually("the streams are busy", async || (self.said.load(Relaxed) >= before + more).then_some(()))
            .await;
    }
}

/// One that is cut off for saying too much comes back.
async fn babble(server: Endpoint, id: String, said: Arc<AtomicUsize>) {
    loop {
        let mut client = dial(&server, &TlsFiles::default()).await.unwrap();
        let (up, queue) = mpsc::channel(64);
        let message = |kind| v1::AgentMessage { node: String::new(), kind: Some(kind) };
        let hello = v1::Hello {
            agent_id: id.clone(),
            host: id.clone(),
            boot_id: "boot".to_owned(),
            role: Role::Agent.into(),
            protocol_versions: vec![PROTOCOL_VERSION],
            ..Default::default()
        };
        up.send(message(Up::Hello(hello))).await.unwrap();
        let Ok(answer) = client.attach(ReceiverStream::new(queue)).await else { continue };
        let mut down = answer.into_inner();
        let answering = up.clone();
        let obey = async {
            while let Ok(Some(v1::ServerMessage { kind: Some(kind), .. })) = down.message().await {
                let answer = match kind {
                    v1::server_message::Kind::Renewal(renewal) => Up::Renewal(renewal),
                    v1::server_message::Kind::Ping(ping) => Up::Pong(v1::Pong { number: ping.number }),
                    _ => continue,
                };
                if answering.send(message(answer)).await.is_err() {
                    return;
                }
            }
        };
        let talk = async {
            let mut size = 0;
            while up.send(message(Up::Targets(told(&id, size)))).await.is_ok() {
                said.fetch_add(1, Relaxed);
                size += 1;
            }
        };
        tokio::select! {
            () = obey => {}
            () = talk => {}
        }
    }
}

/// Targets that change with each message.
fn told(id: &str, number: usize) -> v1::TargetsChanged {
    let target = v1::Target {
        id: format!("host/{id}"),
        incarnation: "1".to_owned(),
        platform_type: "HostPlatform".to_owned(),
        name: id.to_owned(),
        labels: [("number".to_owned(), number.to_string())].into(),
        ..Default::default()
    };
    v1::TargetsChanged { upserted: vec![target], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halt_reverts_everything_while_every_stream_is_full_of_messages() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--log", "error"]).await;
    let (victim, _agent) = paused(&sandbox, &server).await;
    let babble = Babble::start(&server);
    babble.has_said(100 * STREAMS).await;
    let said = babble.said.load(Relaxed);
    let summary = tokio::time::timeout(patience(), halt(&server)).await.expect("a halt in time");
    assert_eq!((summary.reverted, summary.left), (1, 0), "{summary:?}");
    assert_ne!(state(victim.pid()), Some('T'));
    assert!(babble.said.load(Relaxed) > said, "they were silent meanwhile");
    drop(babble.streams);
}
