//! The agent is killed: its guard ends everything.

use std::{thread, time::Duration};

use chaos_kitty_tests::{Sandbox, Server, process};
use rustix::process::Signal;

use crate::{
    held::{Filled, HOUR, Held, WHAT},
    print, row,
    target::Target,
    watch::watch,
};

const ROUNDS: usize = 200;
const MEMORY_ROUNDS: usize = 10;
const MEMORY: u64 = 1 << 30;
/// Busy processes a core, where the machine is to be busy.
const OVERSUBSCRIBED: usize = 4;

pub(crate) async fn measure() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "60s"]).await;
    let mut rows = Vec::new();
    let mut guard = String::new();
    for busy in [0, OVERSUBSCRIBED * thread::available_parallelism().unwrap().get()] {
        let _load: Vec<_> = (0..busy).map(|_| Target::busy(&sandbox)).collect();
        let machine = if busy == 0 { "idle" } else { "busy" };
        let mut took = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let (times, cost) = round(&sandbox, &server).await;
            times.into_iter().zip(&mut took).for_each(|(time, all)| all.push(time));
            guard = cost;
        }
        rows.extend(WHAT.into_iter().zip(&took).map(|(what, took)| row(what, machine, took)));
    }
    let mut memory = Vec::new();
    for _ in 0..MEMORY_ROUNDS {
        memory.push(memory_round(&sandbox, &server).await);
    }
    rows.push(row("1 GiB", "idle", &memory));
    print("from the SIGKILL of the agent to the end of the fault, ms", "machine", &rows);
    println!("  limits at p99: 20 idle, 50 busy; memory 150 more a GiB");
    println!("  the guard, holding three faults: {guard} (limits: 3072 and 512)");
}

/// Gives the time to the end of each fault, and what the guard cost meanwhile.
async fn round(sandbox: &Sandbox, server: &Server) -> ([Duration; 3], String) {
    let mut held = Held::begin(sandbox, server, &server.endpoint(), HOUR).await;
    let cost = held.cost_of_guard();
    let agent = held.agent.process.pid();
    let ended = held.ended();
    let ((), begun, ends) = watch(move || process::signal(agent, Signal::KILL), ended).await;
    held.agent.process.kill();
    (ends.map(|end| end - begun), cost)
}

async fn memory_round(sandbox: &Sandbox, server: &Server) -> Duration {
    let filled = Filled::begin(sandbox, server, MEMORY).await;
    let agent = filled.agent.process.pid();
    let ended = [filled.ended()];
    let ((), begun, [end]) = watch(move || process::signal(agent, Signal::KILL), ended).await;
    end - begun
}
