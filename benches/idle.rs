//! What an idle agent costs the server: resident memory, fresh and aged (the buffers of a connection grow to
//! their size only as bytes pass through them), and processor time for the renewals of 10,000 leases.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::time::{Duration, Instant};

use chaos_kitty::v1::{HaltRequest, ResumeRequest};
use chaos_kitty_benches::{cpu, figures::table, run, swarm::Swarm};
use chaos_kitty_tests::{Sandbox, Server, process};

const SIZES: [usize; 2] = [1000, 10_000];
/// Commands and their acknowledgements after which an agent counts as aged. With 10,000 agents they are 3.3 million
/// of each, which takes minutes.
const AGED: usize = 330;
/// A halt sends an order and a ping to each agent, its end another order; each is answered.
const COMMANDS_PER_HALT: usize = 3;
/// Two rounds of renewals at the default lease.
const WINDOW: Duration = Duration::from_secs(20);
/// Time for allocations of the attaching itself to be given back.
const SETTLE: Duration = Duration::from_secs(2);

fn main() {
    run(async {
        cpu::raise_file_limit();
        let mut rows = Vec::new();
        for size in SIZES {
            for transport in ["unix", "tcp"] {
                rows.push(measure(transport, size).await);
            }
        }
        let heading = [
            "agents",
            "over",
            "descriptors each",
            "KB each, fresh",
            "KB each, aged",
            "renewals, % of a core",
        ];
        table("idle agents, in the server", heading, &rows);
        println!("  limits: 31 KB aged; 6 % of a core for 10000");
    });
}

async fn measure(transport: &str, size: usize) -> [String; 6] {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--log", "warn"]).await;
    let mut swarm = Swarm::default();
    let endpoint = if transport == "unix" { server.endpoint() } else { server.tcp().await.parse().unwrap() };
    let progress = |what: &str| println!("  {size} over {transport}: {what}");
    // What the first agents cost is the server's, not the agent's.
    swarm.attach(&[&endpoint], "first", 2).await;
    let (before, descriptors_before) = (resident(&server).await, descriptors(&server));
    swarm.attach(&[&endpoint], "idle", size).await;
    let fresh = resident(&server).await - before;
    let each = (descriptors(&server) - descriptors_before) as f64 / size as f64;
    let kilobytes = |bytes: u64| format!("{:.1}", bytes as f64 / size as f64 / 1000.0);
    progress(&format!("attached, {} KB each", kilobytes(fresh)));
    age(&server, &swarm, &progress).await;
    let aged = resident(&server).await - before;
    progress(&format!("aged, {} KB each", kilobytes(aged)));
    let renewals = format!("{:.2}", renewals(&server).await);
    [
        size.to_string(),
        transport.to_owned(),
        format!("{each:.2}"),
        kilobytes(fresh),
        kilobytes(aged),
        renewals,
    ]
}

/// Open files of the server.
fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.process.pid())).unwrap().count()
}

/// Bytes of the server once it has come to rest.
async fn resident(server: &Server) -> u64 {
    tokio::time::sleep(SETTLE).await;
    process::resident(server.process.pid()).unwrap()
}

/// Has every agent obey and acknowledge [`AGED`] commands: halts and their ends, which leave no record in the
/// server as actions would.
async fn age(server: &Server, swarm: &Swarm, progress: &impl Fn(&str)) {
    let mut client = server.client().await;
    for halt in 1..=AGED / COMMANDS_PER_HALT {
        let mut halting = client.halt(HaltRequest::default()).await.unwrap().into_inner();
        while halting.message().await.unwrap().is_some() {}
        client.resume(ResumeRequest::default()).await.unwrap();
        swarm.commands(swarm.size() * halt * 2).await;
        if halt.is_multiple_of(20) {
            progress(&format!("{} of {AGED} commands", halt * COMMANDS_PER_HALT));
        }
    }
}

/// The share of one core, in percent, that the server uses while nothing happens but renewals.
async fn renewals(server: &Server) -> f64 {
    let used = || process::cpu_time(server.process.pid()).unwrap();
    let (before, started) = (used(), Instant::now());
    tokio::time::sleep(WINDOW).await;
    (used() - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0
}
