//! One agent of many simulated targets: what is held is in force until it is told to end it, and a kill is done but
//! ends nobody.

use chaos_kitty::{
    client::{TlsFiles, dial},
    endpoint::Endpoint,
    limits::{PROTOCOL_VERSION, TARGETS_PER_MESSAGE},
    v1::{
        ActionReport, ActionReports, AgentMessage, Hello, LeaseRenewal, Pong, ServerMessage, Target,
        TargetsChanged, action_kind::Name, action_state::Name as State, agent_message::Kind as Up,
        agent_role, server_message::Kind as Down, target_health,
    },
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// Its platform.
pub const PLATFORM: &str = "ProcessPlatform";
const ID: &str = "herd";

/// The agent, until dropped.
pub struct Herd(JoinHandle<()>);

impl Herd {
    /// Attaches an agent of so many groups, named `group-NUMBER`, of so many targets each.
    pub async fn attach(endpoint: &Endpoint, groups: usize, members: usize) -> Self {
        let mut client = dial(endpoint, &TlsFiles::default()).await.unwrap();
        let (up, queue) = mpsc::channel(1024);
        send(&up, Up::Hello(hello())).await;
        let mut down = client.attach(ReceiverStream::new(queue)).await.unwrap().into_inner();
        let first = down.message().await.unwrap().unwrap().kind;
        assert!(matches!(first, Some(Down::Welcome(_))), "{first:?}");
        let targets: Vec<_> =
            (0..groups).flat_map(|group| (0..members).map(move |member| target(group, member))).collect();
        let last = targets.chunks(TARGETS_PER_MESSAGE).count() - 1;
        for (number, chunk) in targets.chunks(TARGETS_PER_MESSAGE).enumerate() {
            send(
                &up,
                Up::Targets(TargetsChanged {
                    full: number == 0,
                    upserted: chunk.to_vec(),
                    complete: number == last,
                    ..TargetsChanged::default()
                }),
            )
            .await;
        }
        Self(tokio::spawn(live(up, down)))
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn live(up: mpsc::Sender<AgentMessage>, mut down: Streaming<ServerMessage>) {
    let mut sequence = 0;
    while let Ok(Some(message)) = down.message().await {
        let report = match message.kind {
            Some(Down::Renewal(renewal)) => {
                send(&up, Up::Renewal(LeaseRenewal { answered: 0, ..renewal })).await;
                continue;
            }
            Some(Down::Ping(ping)) => {
                send(&up, Up::Pong(Pong { number: ping.number })).await;
                continue;
            }
            Some(Down::Start(order)) => {
                let remaining = order.action.and_then(|action| action.duration);
                let state = if remaining.is_some() { State::Started } else { State::Done };
                ActionReport {
                    action_id: order.action_id,
                    state: state.into(),
                    remaining,
                    ..ActionReport::default()
                }
            }
            Some(Down::Stop(stop)) => ActionReport {
                action_id: stop.action_id,
                state: State::Reverted.into(),
                ..ActionReport::default()
            },
            _ => continue,
        };
        sequence += 1;
        let reports = vec![ActionReport { sequence, ..report }];
        send(&up, Up::Reports(ActionReports { reports })).await;
    }
}

async fn send(up: &mpsc::Sender<AgentMessage>, kind: Up) {
    let message = AgentMessage { node: String::new(), kind: Some(kind) };
    assert!(up.send(message).await.is_ok(), "the server ended the stream");
}

fn hello() -> Hello {
    Hello {
        agent_id: ID.to_owned(),
        host: ID.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        role: agent_role::Name::Agent.into(),
        protocol_versions: vec![PROTOCOL_VERSION],
        platforms: vec![PLATFORM.to_owned()],
        ..Hello::default()
    }
}

fn target(group: usize, member: usize) -> Target {
    let name = format!("group-{group}:{member}");
    Target {
        id: format!("process/{ID}/{name}"),
        incarnation: "1".to_owned(),
        platform_type: PLATFORM.to_owned(),
        aggregation_identifier: format!("group-{group}"),
        name,
        host: ID.to_owned(),
        health: target_health::State::Normal.into(),
        actions: vec![Name::Delay.into(), Name::Kill.into()],
        cattle: true,
        ..Target::default()
    }
}
