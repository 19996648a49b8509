//! A fake agent: it has targets, takes orders for them, and says of them what no agent would.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chaos_kitty::{
    Timestamp, limits,
    v1::{
        self, ActionReport, AgentMessage, Evidence, Hello, LeaseRenewal, ServerMessage, Target,
        TargetsChanged, action_state::Name as State, agent_message::Kind, agent_role::Name as Role,
        server_message, target_health::State as Health,
    },
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::calls::{GROUP, PLATFORM, World, seconds, unleash};

const TARGETS: usize = 100;
/// How long a message may take to end the stream that it came by.
const VERDICT: Duration = Duration::from_millis(3);

pub(crate) struct Ghost {
    name: String,
    world: Arc<World>,
    left: u64,
    random: ChaCha8Rng,
    sequence: u64,
    orders: VecDeque<v1::StartAction>,
    steps: VecDeque<String>,
}

/// One attachment.
struct Link {
    out: mpsc::Sender<AgentMessage>,
    inbound: Streaming<ServerMessage>,
}

impl Ghost {
    pub(crate) fn new(number: u64, world: Arc<World>, left: u64, random: ChaCha8Rng) -> Self {
        let name = format!("ghost-{number}");
        Self { name, world, left, random, sequence: 0, orders: VecDeque::new(), steps: VecDeque::new() }
    }

    /// Attaches, waits for the start, and then sends what it has to, attaching again whenever it is cut off.
    pub(crate) async fn run(mut self, mut start: watch::Receiver<bool>) {
        let Some(mut link) = self.attach(false).await else { panic!("a fake agent is not welcome") };
        while !*start.borrow() {
            if !self.listen(&mut link, Duration::from_millis(50)).await {
                link = self.attach(false).await.expect("it was welcome before");
            }
            let _ = timeout(Duration::from_millis(1), start.changed()).await;
        }
        loop {
            if self.left > 0 {
                self.left -= 1;
                let (name, message) = self.message();
                let sent = link.out.send(message).await.is_ok();
                let accepted = self.listen(&mut link, VERDICT).await && sent;
                self.world.figures.note("Attach", name, accepted);
                if accepted {
                    continue;
                }
            } else if self.listen(&mut link, Duration::from_millis(100)).await {
                continue;
            }
            link = loop {
                match self.attach(self.left > 0).await {
                    Some(link) => break link,
                    None => sleep(Duration::from_millis(20)).await,
                }
            };
        }
    }

    async fn attach(&mut self, extreme: bool) -> Option<Link> {
        let (out, messages) = mpsc::channel(64);
        let mut hello = self.hello();
        if extreme && self.random.random_bool(0.3) {
            hello = self.world.extremes.of("Hello", &hello, &mut self.random);
        }
        out.send(said(Kind::Hello(hello))).await.ok()?;
        let mut client = self.world.client.clone();
        let inbound = client.attach(ReceiverStream::new(messages)).await.ok()?.into_inner();
        let mut link = Link { out, inbound };
        let first = timeout(Duration::from_secs(3), link.inbound.message()).await.ok()?.ok()??;
        let welcome = matches!(first.kind, Some(server_message::Kind::Welcome(_)));
        self.world.figures.note("Attach", "Hello", welcome);
        if !welcome {
            return None;
        }
        link.out.send(said(Kind::Targets(self.roster()))).await.ok()?;
        Some(link)
    }

    /// Takes in what the server says, for so long. False: the stream is over.
    async fn listen(&mut self, link: &mut Link, time: Duration) -> bool {
        let end = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(end, link.inbound.message()).await {
                Err(_) => return true,
                Ok(Ok(Some(message))) => {
                    if let Some(answer) = self.answer(message)
                        && link.out.send(said(answer)).await.is_err()
                    {
                        return false;
                    }
                }
                Ok(_) => return false,
            }
        }
    }

    fn answer(&mut self, message: ServerMessage) -> Option<Kind> {
        match message.kind? {
            server_message::Kind::Renewal(renewal) => {
                Some(Kind::Renewal(LeaseRenewal { number: renewal.number, ..Default::default() }))
            }
            server_message::Kind::Ping(ping) => Some(Kind::Pong(v1::Pong { number: ping.number })),
            server_message::Kind::Start(order) => {
                self.orders.push_back(order);
                self.orders.truncate(256);
                None
            }
            server_message::Kind::Step(step) => {
                self.steps.push_back(step.step_id);
                self.steps.truncate(256);
                None
            }
            _ => None,
        }
    }

    /// Something with extremes.
    fn message(&mut self) -> (&'static str, AgentMessage) {
        let random = self.random.random_range(0..100);
        let (name, kind) = match random {
            0..40 => ("reports", Kind::Reports(self.reports())),
            40..65 => ("targets", Kind::Targets(self.changed())),
            65..75 => ("step", Kind::Step(self.step())),
            75..85 => {
                let invoke = v1::Invoke { call: 1, request: Some(unleash()) };
                ("invoke", Kind::Invoke(self.extreme("Invoke", &invoke)))
            }
            85..95 => ("pong", Kind::Pong(v1::Pong { number: self.random.random() })),
            95..97 => ("renewal", Kind::Renewal(self.extreme("LeaseRenewal", &LeaseRenewal::default()))),
            97..99 => {
                let valid = said(Kind::Targets(self.changed()));
                return ("message", self.extreme("AgentMessage", &valid));
            }
            _ => ("goodbye", Kind::Goodbye(self.extreme("Goodbye", &v1::Goodbye::default()))),
        };
        (name, said(kind))
    }

    fn extreme<M: prost::Message + Default>(&mut self, name: &str, valid: &M) -> M {
        self.world.extremes.of(name, valid, &mut self.random)
    }

    /// On orders in flight: that they are in force, and later that they are over.
    fn reports(&mut self) -> v1::ActionReports {
        let mut reports = Vec::new();
        for state in [State::Accepted, State::Started, State::Reverted] {
            let Some(order) = self.orders.front().cloned() else { break };
            if state == State::Reverted {
                self.orders.pop_front();
            }
            self.sequence += 1;
            reports.push(ActionReport {
                action_id: order.action_id,
                sequence: self.sequence,
                target_id: order.target_id,
                state: state.into(),
                at: Some(Timestamp::now()),
                remaining: seconds(1),
                evidence: vec![Evidence { phase: 2, what: "state".to_owned(), value: "T".to_owned() }],
                result: Some(v1::ActionResult {
                    kind: Some(v1::action_result::Kind::Delay(v1::DelayResult::default())),
                }),
                ..Default::default()
            });
        }
        self.extreme("ActionReports", &v1::ActionReports { reports })
    }

    fn step(&mut self) -> v1::StepResult {
        let step_id = self.steps.pop_front().unwrap_or_default();
        self.extreme("StepResult", &v1::StepResult { step_id, exit_code: Some(0), ..Default::default() })
    }

    fn changed(&mut self) -> TargetsChanged {
        let number = self.random.random_range(0..TARGETS);
        let changed =
            TargetsChanged { upserted: vec![self.target(number)], complete: true, ..Default::default() };
        self.extreme("TargetsChanged", &changed)
    }

    fn roster(&self) -> TargetsChanged {
        let upserted = (0..TARGETS).map(|number| self.target(number)).collect();
        TargetsChanged { full: true, complete: true, upserted, ..Default::default() }
    }

    fn target(&self, number: usize) -> Target {
        Target {
            id: format!("{}/{number}", self.name.replace('-', "/")),
            incarnation: format!("{number}:1"),
            platform_type: PLATFORM.to_owned(),
            aggregation_identifier: GROUP.to_owned(),
            name: format!("{}:{number}", self.name),
            agent_id: self.name.clone(),
            host: self.name.clone(),
            health: Health::Normal.into(),
            cattle: true,
            actions: (1..=6).collect(),
            labels: [("kind".to_owned(), "ghost".to_owned())].into(),
            ..Default::default()
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            agent_id: self.name.clone(),
            host: self.name.clone(),
            pid: 1,
            version: "0".to_owned(),
            boot_id: self.name.clone(),
            role: Role::Agent.into(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            platforms: vec![PLATFORM.to_owned()],
            ..Default::default()
        }
    }
}

fn said(kind: Kind) -> AgentMessage {
    AgentMessage { node: String::new(), kind: Some(kind) }
}
