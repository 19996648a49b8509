//! Dispatch: how long from an order's leaving for an agent's stream to its acknowledgement, by the server's
//! clock, with one agent and with 10,000 more that are idle (a Unix socket costs
//! the server two descriptors, so half of these come by TCP), over a Unix socket and TCP; beside a bare Unix
//! socket between two processes that carries the same bytes.
//!
//! `call` is the whole of it as an operator sees it: Unleash called → the acknowledgement's status received. Where
//! server and agents share one processor, the caller is on another: what it does with its answer is no part of a
//! dispatch. Each order finds an agent that has heard the last word on the one before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use chaos_kitty::{
    client::{Client, TlsFiles, dial},
    endpoint::Endpoint,
    v1::{Action, TriggerGc, UnleashRequest, action, action_state::Name as State, unleash_request::Choice},
};
use chaos_kitty_benches::{
    cpu,
    figures::{quantile, table, us},
    raw::{self, Echo},
    run,
    swarm::{Seen, Swarm, target_id},
};
use chaos_kitty_tests::{Sandbox, Server};

const IDLE: usize = 10_000;
const ROUNDS: usize = 5;
const PER_ROUND: usize = 300;
const HEADING: [&str; 9] = [
    "processors",
    "transport",
    "idle agents",
    "p50 us",
    "p99 us",
    "raw p50",
    "raw p99",
    "ratio p50/p99",
    "call p50",
];

fn main() {
    if raw::answer_if_asked() {
        return;
    }
    run(async {
        cpu::raise_file_limit();
        let pinned = cpu::Pinned::here();
        let mut rows = measure_all("one").await;
        drop(pinned);
        rows.extend(measure_all("all").await);
        table("dispatch: order left for the stream -> acknowledged, by the server's clock", HEADING, &rows);
        println!(
            "  limits, one processor, Unix socket, {IDLE} idle: p50 <= 2.2x raw, p99 <= 4x; p50 <= 1.15x that with none idle"
        );
    });
}

async fn measure_all(processors: &str) -> Vec<[String; 9]> {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--log", "warn"]).await;
    let tcp: Endpoint = server.tcp().await.parse().unwrap();
    let mut swarm = Swarm::default();
    swarm.attach(&[&server.endpoint()], "unix", 1).await;
    swarm.attach(&[&tcp], "tcp", 1).await;
    for name in ["unix-0", "tcp-0"] {
        server.target(name).await;
    }
    let mut rows = Vec::new();
    for idle in [0, IDLE] {
        if idle > 0 {
            swarm.attach(&[&server.endpoint(), &tcp], "idle", idle).await;
        }
        for transport in ["unix", "tcp"] {
            rows.push(measure(processors, transport, idle, &sandbox, &server, &swarm).await);
        }
    }
    rows
}

/// The samples of one configuration.
#[derive(Default)]
struct Samples {
    dispatch: Vec<Duration>,
    call: Vec<Duration>,
    raw: Vec<Duration>,
}

async fn measure(
    processors: &str,
    transport: &str,
    idle: usize,
    sandbox: &Sandbox,
    server: &Server,
    swarm: &Swarm,
) -> [String; 9] {
    let caller = Caller {
        endpoint: server.endpoint(),
        target: target_id(&format!("{transport}-0")),
        seen: Arc::clone(swarm.seen()),
    };
    caller.call(PER_ROUND).await;
    let bytes = |seen: &std::sync::atomic::AtomicUsize| seen.load(Ordering::Relaxed);
    let mut echo = Echo::start(sandbox.path(), bytes(&swarm.seen().down), bytes(&swarm.seen().up));
    let mut samples = Samples::default();
    for _ in 0..ROUNDS {
        for (dispatch, call) in caller.call(PER_ROUND).await {
            samples.dispatch.push(dispatch);
            samples.call.push(call);
        }
        samples.raw.extend(echo.measure(PER_ROUND));
    }
    let both = |of: &[Duration]| [quantile(of, 0.5), quantile(of, 0.99)];
    let ([p50, p99], [raw50, raw99]) = (both(&samples.dispatch), both(&samples.raw));
    let ratio = |time: Duration, to: Duration| time.as_secs_f64() / to.as_secs_f64();
    [
        processors.to_owned(),
        transport.to_owned(),
        idle.to_string(),
        us(p50),
        us(p99),
        us(raw50),
        us(raw99),
        format!("{:.2} / {:.2}", ratio(p50, raw50), ratio(p99, raw99)),
        us(quantile(&samples.call, 0.5)),
    ]
}

/// Who asks for actions, in a thread of its own.
#[derive(Clone)]
struct Caller {
    endpoint: Endpoint,
    target: String,
    seen: Arc<Seen>,
}

impl Caller {
    /// So many, one after the other.
    async fn call(&self, times: usize) -> Vec<(Duration, Duration)> {
        let caller = self.clone();
        let calls = async move {
            let mut client = dial(&caller.endpoint, &TlsFiles::default()).await.unwrap();
            let mut figures = Vec::new();
            for _ in 0..times {
                let taken = caller.seen.taken.load(Ordering::Relaxed);
                figures.push(unleash(&mut client, &caller.target).await);
                while caller.seen.taken.load(Ordering::Relaxed) == taken {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            figures
        };
        let thread = tokio::task::spawn_blocking(move || {
            cpu::move_away();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(calls)
        });
        thread.await.unwrap()
    }
}

/// One action that holds nothing: how long its dispatch took, and the call up to then.
async fn unleash(client: &mut Client, target: &str) -> (Duration, Duration) {
    let request = UnleashRequest {
        action: Some(Action { duration: None, kind: Some(action::Kind::Gc(TriggerGc {})) }),
        choice: Some(Choice::Target(target.to_owned())),
        source: "bench".to_owned(),
        ..UnleashRequest::default()
    };
    let started = Instant::now();
    let mut updates = client.unleash(request).await.unwrap().into_inner();
    let mut figures = None;
    while let Some(status) = updates.message().await.unwrap() {
        assert!(!matches!(status.state(), State::Failed | State::Refused | State::Unknown), "{status:?}");
        if let (None, Some(dispatch)) = (figures, status.acknowledged_in) {
            figures = Some((dispatch.try_into().unwrap(), started.elapsed()));
        }
    }
    figures.expect("the order was acknowledged")
}
