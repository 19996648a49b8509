//! Which targets of a selection are hit. Pure: the same roster and seed give the same choice.

use std::collections::HashMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// One target of the selection, in the roster's order (by name).
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// (platform, aggregation identifier).
    pub(super) group: (&'a str, &'a str),
    /// It is healthy and not hurt.
    pub(super) is_spared: bool,
    /// How many of its group may be hit now; 1 where it belongs to none.
    pub(super) room: usize,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    /// At the most.
    Count(u32),
    /// Of the selection, above 0 to 100.
    Percent(f64),
}

impl Amount {
    /// Of a selection of this size, rounded to the nearest and at least one.
    fn of(self, size: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a roster's size, which is far below 2^52"
            )]
            Self::Percent(percent) => ((size as f64 * percent / 100.0).round() as usize).max(1),
        }
    }
}

/// Indexes of those that are hit, in the order in which they were drawn. No group is hurt beyond its
/// room; fewer than asked may therefore be chosen, or none.
pub(super) fn choose(candidates: &[Candidate<'_>], amount: Amount, seed: u64) -> Vec<usize> {
    let wanted = amount.of(candidates.len());
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut drawn: HashMap<(&str, &str), usize> = HashMap::new();
    let mut chosen = Vec::new();
    for index in order {
        if chosen.len() == wanted {
            break;
        }
        let candidate = candidates[index];
        if !candidate.is_spared {
            continue;
        }
        let of_group = drawn.entry(candidate.group).or_default();
        if *of_group < candidate.room {
            *of_group += 1;
            chosen.push(index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All but one of a group of two or more may be hit.
    fn group(size: usize, hurt: usize) -> Vec<Candidate<'static>> {
        let room = if size == 1 { 1 } else { (size - hurt).saturating_sub(1) };
        let member = |index| Candidate { group: ("WorkerPlatform", "g"), is_spared: index >= hurt, room };
        (0..size).map(member).collect()
    }

    #[test]
    fn a_lone_target_may_be_hit_and_the_last_of_two_may_not() {
        assert_eq!(choose(&group(1, 0), Amount::Count(1), 7), [0]);
        assert!(choose(&group(2, 1), Amount::Count(1), 7).is_empty());
    }

    #[test]
    fn a_percentage_is_rounded_and_at_least_one() {
        let counts = [(10.0, 1), (1.0, 1), (25.0, 3), (24.0, 2), (100.0, 9)];
        for (percent, expected) in counts {
            assert_eq!(choose(&group(10, 0), Amount::Percent(percent), 1).len(), expected, "{percent}");
        }
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_choice_and_survivors_are_kept(
            size in 1usize..40, hurt in 0usize..40, count in 1u32..50, seed: u64,
        ) {
            let hurt = hurt.min(size);
            let candidates = group(size, hurt);
            let chosen = choose(&candidates, Amount::Count(count), seed);
            prop_assert_eq!(&chosen, &choose(&candidates, Amount::Count(count), seed));
            prop_assert!(chosen.len() <= count as usize);
            prop_assert!(chosen.iter().all(|index| candidates[*index].is_spared));
            prop_assert!(size < 2 || chosen.is_empty() || size - hurt > chosen.len());
        }
    }

    #[test]
    fn seeds_differ() {
        let of = |seed| choose(&group(40, 0), Amount::Count(5), seed);
        assert_ne!(of(1), of(2));
    }
}
