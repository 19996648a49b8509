//! What chance decides. Everything is drawn from the seed and the number of a series or a round, so that a seed
//! repeats it, whatever runs beside it.

use std::{ops::RangeInclusive, time::Duration};

use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    cell::{HOUR, Plan, Role},
    death::Death,
    grid::POINTS,
    target::What,
};

/// Rounds in one cell, one after the other.
pub(crate) const SERIES: u64 = 8;

/// Rounds with a point at which agent, guard or server dies, or stops.
const AT_A_POINT: f64 = 0.3;

/// Actions that are over soon.
const SHORT: f64 = 0.3;

/// Rounds in which one is ordered to end.
const STOPPED: f64 = 0.25;

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// What the cell of a series is made of.
pub(crate) fn plan(seed: u64, series: u64) -> Plan {
    let mut random = random(seed, u64::MAX - series);
    Plan {
        relays: random.random_range(0..=3),
        targets: What::OUTSIDE.to_vec(),
        worker: random.random_bool(0.5),
        ..Plan::default()
    }
}

/// What happens in one round.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Where one of them dies, or stops.
    pub(crate) crash_at: Option<(Role, String)>,
    pub(crate) actions: Vec<(What, Duration)>,
    /// Which one is ordered to end just before the death.
    pub(crate) stop: Option<What>,
    /// Of the death, after the orders.
    pub(crate) moment: Duration,
    pub(crate) death: Death,
    /// How long it lasts, at the least.
    pub(crate) pause: Duration,
}

impl Choice {
    pub(crate) fn draw(seed: u64, round: u64, plan: &Plan) -> Self {
        let random = &mut random(seed, round);
        let inside: &[What] = if plan.worker { &What::INSIDE } else { &[] };
        let mut actions: Vec<_> =
            plan.targets.iter().chain(inside).filter(|_| random.random_bool(0.6)).copied().collect();
        if actions.is_empty() {
            actions.push(What::Delay);
        }
        let actions: Vec<_> = actions.into_iter().map(|what| (what, held_for(random))).collect();
        let stopped = random.random_bool(STOPPED).then(|| actions.choose(random).map(|(what, _)| *what));
        let death = death(random, plan);
        Self {
            // In good order: then nobody else dies.
            crash_at: crash_at(random).filter(|_| !death.is_in_order()),
            stop: stopped.flatten(),
            moment: millis(random, 0..=2500),
            death,
            pause: millis(random, 0..=1500),
            actions,
        }
    }
}

fn held_for(random: &mut ChaCha8Rng) -> Duration {
    if random.random_bool(SHORT) { millis(random, 50..=2000) } else { HOUR }
}

fn millis(random: &mut ChaCha8Rng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

fn crash_at(random: &mut ChaCha8Rng) -> Option<(Role, String)> {
    let (point, passing) = (POINTS.choose(random)?, random.random_range(1..=6));
    let how = if random.random_bool(0.5) { "kill" } else { "stop" };
    random.random_bool(AT_A_POINT).then(|| (point.at, format!("{}:{passing}={how}", point.name)))
}

fn death(random: &mut ChaCha8Rng, plan: &Plan) -> Death {
    let relays = (0..plan.relays)
        .flat_map(|hop| [Death::KillRelay(hop), Death::StopRelay(hop), Death::RestartRelay(hop)]);
    let worker = [Death::KillWorker, Death::StopWorker].into_iter().filter(|_| plan.worker);
    let restarts = [Death::RestartAgent, Death::RestartServer];
    let all: Vec<_> = Death::ALL.into_iter().chain(restarts).chain(relays).chain(worker).collect();
    *all.choose(random).expect("there are some")
}
