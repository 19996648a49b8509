//! The connection is cut, some hops from the agent: everything ends with the lease.

use std::time::Duration;

use chaos_kitty::endpoint::Endpoint;
use chaos_kitty_tests::{Agent, Sandbox, Server, proxy::Proxy};
use rustix::process::Signal;

use crate::{
    held::{HOUR, Held},
    print, row,
    watch::watch,
};

const ROUNDS: usize = 5;
const LEASE: &str = "3s";

pub(crate) async fn measure() {
    let mut rows = Vec::new();
    for stopped in [false, true] {
        for hops in 1..=3 {
            let mut took = Vec::new();
            for _ in 0..ROUNDS {
                took.extend(round(hops, stopped).await);
            }
            let with = if stopped { ", the agent stopped" } else { "" };
            rows.push(row("all three", &format!("{hops}{with}"), &took));
        }
    }
    print("the server's connection is cut: from there to the end of the fault, ms", "hops", &rows);
    println!("  lease {LEASE}; limit: one second more");
}

async fn round(hops: usize, stopped: bool) -> [Duration; 3] {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", LEASE]).await;
    let Endpoint::Unix(socket) = server.endpoint() else { panic!("a Unix socket") };
    let proxy = Proxy::new(&sandbox.path().join("proxy.ipc"), &socket);
    let relays = relays(&sandbox, &server, &proxy, hops - 1).await;
    let attach_to = relays.last().map_or(proxy.endpoint(), Agent::local);
    let held = Held::begin(&sandbox, &server, &attach_to, HOUR).await;
    if stopped {
        held.agent.process.signal(Signal::STOP);
    }
    let ended = held.ended();
    let (_proxy, begun, ends) = watch(
        move || {
            proxy.cut();
            proxy
        },
        ended,
    )
    .await;
    ends.map(|end| end - begun)
}

/// Agents, each attached to the one before, the first to the proxy.
async fn relays(sandbox: &Sandbox, server: &Server, proxy: &Proxy, count: usize) -> Vec<Agent> {
    let mut relays: Vec<Agent> = Vec::new();
    for number in 0..count {
        let attach_to = relays.last().map_or(proxy.endpoint(), Agent::local);
        relays.push(sandbox.agent_behind(server, &attach_to, &format!("relay-{number}"), &[]).await);
    }
    relays
}
