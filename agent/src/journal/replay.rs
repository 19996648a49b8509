//! Putting back what an earlier agent and its guard left. Blocks.

use std::{thread, time::Instant};

use chaos_kitty_guard::{
    Undo,
    revert::{LOCAL_LIMIT, LOOK_AGAIN, Local, Outcome, slow},
};

use super::Held;

/// What became of a fault that was left.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The fault.
    pub held: Held,
    /// One for each undo that applied.
    pub outcomes: Vec<Outcome>,
}

impl Replayed {
    /// What could not be put back.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.failure.is_some())
    }

    /// Whether a person is needed.
    pub fn is_stuck(&self) -> bool {
        self.failures().next().is_some()
    }
}

/// Carries out what applies in this boot of the host: all that is local at once, then the rest side by side.
pub fn replay(held: Vec<Held>, boot: &str) -> Vec<Replayed> {
    let mut under_way: Vec<_> = held
        .into_iter()
        .map(|held| {
            let undos = held.applies_in(boot);
            (Local::begin(&undos), undos, held)
        })
        .collect();
    let begun = Instant::now();
    settle(&mut under_way, begun);
    let over = |(local, undos, held): (Local, Vec<Undo>, Held)| {
        let slow = slow(&undos);
        Replayed { held, outcomes: local.outcomes().into_iter().chain(slow).collect() }
    };
    let (quick, slow): (Vec<_>, Vec<_>) =
        under_way.into_iter().partition(|(_, undos, _)| undos.iter().all(Undo::is_local));
    let mut replayed: Vec<_> = quick.into_iter().map(over).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = slow.into_iter().map(|one| scope.spawn(move || over(one))).collect();
        replayed.extend(threads.into_iter().filter_map(|thread| thread.join().ok()));
    });
    replayed
}

/// Looks again at what is local and takes time, until it is over or [`LOCAL_LIMIT`] is.
fn settle(under_way: &mut [(Local, Vec<Undo>, Held)], begun: Instant) {
    while !under_way.iter().all(|(local, ..)| local.is_over()) {
        thread::sleep(LOOK_AGAIN);
        let last = begun.elapsed() > LOCAL_LIMIT;
        for (local, ..) in &mut *under_way {
            local.step(last);
        }
    }
}
