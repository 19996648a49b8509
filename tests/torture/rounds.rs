//! Random rounds: random actions, random moments, random deaths, restarts of everything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chaos_kitty_tests::eventually;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    cell::{Cell, Outcome, Role},
    choice::{Choice, SERIES, plan},
    figures::{Figures, Found},
    host::Host,
    observer::is_stopped,
};

/// Series side by side, each with a server of its own.
const SIDE_BY_SIDE: usize = 12;

/// With as many relays as there may be, on a machine that is loaded, a shorter one runs out by itself.
const LEASE: Duration = Duration::from_secs(4);

/// How many there are unless `KITTY_TORTURE_ROUNDS` says otherwise.
const ROUNDS: u64 = 1000;

type Told = (String, Outcome<Found>);

/// Walks through all of them.
pub(crate) async fn run(figures: &mut Figures) {
    let rounds = number("KITTY_TORTURE_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("KITTY_TORTURE_SEED").unwrap_or_else(rand::random);
    println!("{rounds} random rounds; KITTY_TORTURE_SEED={seed} draws the same again");
    let (told, mut news) = mpsc::unbounded_channel();
    let next = Arc::new(AtomicU64::new(0));
    let mut lanes = JoinSet::new();
    for _ in 0..SIDE_BY_SIDE {
        let (next, told, runtime) = (Arc::clone(&next), told.clone(), Handle::current());
        lanes.spawn_blocking(move || runtime.block_on(lane(seed, rounds, &next, &told)));
    }
    drop(told);
    while let Some((name, outcome)) = news.recv().await {
        figures.take(&name, outcome);
    }
    while let Some(lane) = lanes.join_next().await {
        if lane.is_err() {
            figures.take("a lane", Err("it panicked".to_owned()));
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// One series after the other, as long as there are any.
async fn lane(seed: u64, rounds: u64, next: &AtomicU64, told: &mpsc::UnboundedSender<Told>) {
    loop {
        let series = next.fetch_add(1, Ordering::Relaxed);
        let numbers = series * SERIES..((series + 1) * SERIES).min(rounds);
        if numbers.is_empty() {
            return;
        }
        let plan = plan(seed, series);
        let mut cell = Cell::start(Arc::new(Host::start(LEASE, None).await), &plan).await;
        let mut is_well = true;
        for round in numbers {
            let choice = Choice::draw(seed, round, &plan);
            let outcome = play(&mut cell, &choice).await;
            is_well = outcome.is_ok();
            let name = format!("round {round} of seed {seed}, behind {} relays: {choice:?}", plan.relays);
            let _heard = told.send((name, outcome));
            if !is_well {
                // Whatever it is left in is no place for another round.
                break;
            }
        }
        if is_well && let Err(why) = cell.end().await {
            let _heard = told.send((format!("series {series} of seed {seed}"), Err(why)));
        }
    }
}

/// One round.
async fn play(cell: &mut Cell, choice: &Choice) -> Outcome<Found> {
    arm(cell, choice);
    eventually("the agent has a guard", async || cell.guard()).await;
    for (what, duration) in &choice.actions {
        cell.order(*what, *duration);
    }
    sleep(choice.moment).await;
    if let Some(what) = choice.stop {
        cell.orders.stop(what);
    }
    cell.orders.insist_no_more();
    let all_in_force = cell.orders.all_in_force();
    let at = stands(cell).await;
    let guard = eventually("the agent has a guard", async || cell.guard()).await;
    choice.death.strike(cell, guard, at).await;
    // A point that is reached only now makes it two deaths at a time, which nobody but the journal outlives.
    let is_certain = choice.crash_at.is_none() && (all_in_force || !choice.death.is_survived());
    let took = if is_certain && choice.actions.iter().all(|(what, _)| choice.death.ends(*what)) {
        Some(cell.clean().await?)
    } else {
        None
    };
    sleep(choice.pause).await;
    let faults = cell.orders.begun();
    disarm(cell, choice);
    choice.death.get_over(cell, guard).await?;
    Ok(Found { death: choice.death, faults, took })
}

/// Starts again whoever has a point to come to.
fn arm(cell: &mut Cell, choice: &Choice) {
    match &choice.crash_at {
        Some((Role::Server, point)) => cell.host.restart(Some(point)),
        Some(_) => cell.restart_agent(choice.crash_at.as_ref()),
        None => {}
    }
}

/// The same, without the point.
fn disarm(cell: &mut Cell, choice: &Choice) {
    match &choice.crash_at {
        Some((Role::Server, _)) => cell.host.restart(None),
        Some(_) => cell.disarm(),
        None => {}
    }
}

/// Who stands at its point. Who has died there is started again, by its supervisor.
async fn stands(cell: &mut Cell) -> Option<Role> {
    if !cell.host.is_running() {
        cell.host.restart(None);
    }
    if !cell.agent.is_running() {
        cell.restart_agent(None);
    }
    let guard = eventually("the agent has a guard", async || cell.guard()).await;
    let all = [(Role::Server, cell.host.pid()), (Role::Agent, cell.agent.pid()), (Role::Guard, guard)];
    all.into_iter().find(|(_, pid)| is_stopped(*pid)).map(|(role, _)| role)
}
