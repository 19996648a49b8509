//! One round as a pure function: what makes a run replayable from its seed.

use chaos_kitty::v1;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::kind::Kind;

/// What a round came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Round<'a, T> {
    /// The one that was drawn. `None`: there was nobody to draw.
    pub(super) target: Option<&'a T>,
    /// What is to be done to it. `None`: the roll did not come out.
    pub(super) action: Option<v1::Action>,
}

/// Draws one target of the roster, which is ordered by name, *then* rolls the probability, then draws the
/// action's parameters. The same arguments give the same round, on any machine.
pub(super) fn decide<'a, T>(
    seed: u64,
    round: u64,
    probability: f64,
    kind: &impl Kind,
    roster: &'a [T],
) -> Round<'a, T> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(round);
    let Some(last) = (roster.len() as u64).checked_sub(1) else {
        return Round { target: None, action: None };
    };
    let target = roster.get(random.random_range(0..=last) as usize);
    let hit = random.random::<f64>() < probability;
    Round { target, action: hit.then(|| kind.action(&mut random)) }
}
