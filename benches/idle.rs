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
/// Commands and their acknowledgements after which an agent counts as aged.
const AGED: usize = 330;
/// Two rounds of renewals at the default lease.
const WINDOW: Duration = Duration::from_secs(20);
/// Time for allocations of the attaching itself to be given back.
const SETTLE: Duration = Duration::from_secs(2);

fn main() {
    run(async {
        cpu::raise_file_limit();
        let mut rows = Vec::new();
        for size in SIZES {
            rows.push(measure(size).await);
        }
        let heading = ["agents", "KB each, fresh", "KB each, aged", "renewals, % of a core"];
        table(
            "idle agents, half of them over a Unix socket and half over TCP, in the server",
            heading,
            &rows,
        );
        println!("  limits: 31 KB aged; 6 % of a core for 10000");
    });
}

async fn measure(size: usize) -> [String; 4] {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--log", "warn"]).await;
    let mut swarm = Swarm::default();
    // What the first agents cost is the server's, not the agent's.
    let (unix, tcp) = (server.endpoint(), server.tcp().await.parse().unwrap());
    swarm.attach(&[&unix, &tcp], "first", 2).await;
    let before = resident(&server).await;
    swarm.attach(&[&unix, &tcp], "idle", size).await;
    let fresh = resident(&server).await - before;
    age(&server, &swarm).await;
    let aged = resident(&server).await - before;
    let kilobytes = |bytes: u64| format!("{:.1}", bytes as f64 / size as f64 / 1000.0);
    [size.to_string(), kilobytes(fresh), kilobytes(aged), format!("{:.2}", renewals(&server).await)]
}

/// Bytes of the server once it has come to rest.
async fn resident(server: &Server) -> u64 {
    tokio::time::sleep(SETTLE).await;
    process::resident(server.process.pid()).unwrap()
}

/// Has every agent obey and acknowledge [`AGED`] commands: halts and their ends, which leave no record in the
/// server as actions would.
async fn age(server: &Server, swarm: &Swarm) {
    let mut client = server.client().await;
    for pair in 1..=AGED / 2 {
        let mut halt = client.halt(HaltRequest::default()).await.unwrap().into_inner();
        while halt.message().await.unwrap().is_some() {}
        client.resume(ResumeRequest::default()).await.unwrap();
        swarm.commands(swarm.size() * pair * 2).await;
    }
}

/// The share of one core, in percent, that the server uses while nothing happens but renewals.
async fn renewals(server: &Server) -> f64 {
    let used = || process::cpu_time(server.process.pid()).unwrap();
    let (before, started) = (used(), Instant::now());
    tokio::time::sleep(WINDOW).await;
    (used() - before).as_secs_f64() / started.elapsed().as_secs_f64() * 100.0
}
