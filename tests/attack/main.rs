//! Calls with extremes, made by reflection from valid ones, through gRPC, REST and the agents' stream, with faults in
//! force on real processes. Nothing may end, be lamed, or grow.
//!
//! `tests/run --attack`; `KITTY_ATTACK_CALLS` is how many, `KITTY_ATTACK_SEED` the chance that an earlier run printed,
//! `KITTY_ATTACK_REST` the seconds of rest before memory is measured again.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: their names are their documentation, and a panic is how they fail"
)]

mod bed;
mod calls;
mod extreme;
mod figures;
mod ghost;
mod rest;
mod watch;

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use bed::Bed;
use calls::World;
use figures::Figures;

/// Callers side by side.
const CALLERS: u64 = 6;
/// Fake agents with targets.
const GHOSTS: u64 = 3;
/// Of a hundred calls: how many go through gRPC and through REST. The rest is messages of fake agents.
const GRPC: u64 = 50;
const REST: u64 = 25;
/// Calls that end faults come last.
const HALTS: u64 = 50;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |value| value.parse().expect(name))
}

#[tokio::main]
async fn main() -> ExitCode {
    let calls = number("KITTY_ATTACK_CALLS", 50_000);
    let seed = number("KITTY_ATTACK_SEED", rand::random::<u32>().into());
    println!("{calls} calls, KITTY_ATTACK_SEED={seed}");
    let mut bed = Bed::start().await;
    let figures = Arc::new(Figures::default());
    let world = World::new(&bed, Arc::clone(&figures)).await;
    // What it is like before: nodes attached, faults in force, each call made once or twice.
    let mut ghosts = Vec::new();
    let share = move |percent: u64, among: u64| calls * percent / 100 / among;
    let (start, started) = tokio::sync::watch::channel(false);
    for number in 0..GHOSTS {
        let random = ChaCha8Rng::seed_from_u64(seed ^ (1000 + number));
        let ghost = ghost::Ghost::new(number, world.clone(), share(100 - GRPC - REST, GHOSTS), random);
        ghosts.push(tokio::spawn(ghost.run(started.clone())));
    }
    world.ghosts_are_there().await;
    world.warm_up().await;
    let before = bed.resident();
    let watch = watch::Watch::start(&bed);
    start.send_replace(true);
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let (world, mut random) = (world.clone(), ChaCha8Rng::seed_from_u64(seed ^ number));
        callers.push(tokio::spawn(async move {
            let (grpc, rest) = (share(GRPC, CALLERS), share(REST, CALLERS));
            for _ in 0..grpc + rest {
                if random.random_range(0..grpc + rest) < grpc {
                    world.grpc(&mut random).await;
                } else {
                    world.rest(&mut random).await;
                }
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let mut complaints = bed.faults_are_in_force(&world).await;
    world.halts(HALTS, &mut ChaCha8Rng::seed_from_u64(seed ^ 77)).await;
    complaints.extend(bed.faults_are_reverted().await);
    for ghost in ghosts {
        assert!(!ghost.is_finished(), "a fake agent goes on to the end");
        ghost.abort();
    }
    let seen = watch.end();
    tokio::time::sleep(Duration::from_secs(number("KITTY_ATTACK_REST", 60))).await;
    complaints.extend(bed.judge(before, &seen));
    println!("{figures}\n{seen}");
    println!("resident before, at most, after rest: {}", bed.memory(before, &seen));
    complaints.extend(figures.judge(calls));
    if complaints.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{}\nseed {seed}", complaints.join("\n"));
    ExitCode::FAILURE
}
