//! Capped exponential backoff with full jitter: each wait is drawn uniformly from zero to a ceiling that
//! doubles with every failure (the "full jitter" of AWS's architecture blog, 2015). A fleet that lost its
//! server comes back spread out, not all at once.

use std::time::Duration;

use rand::{Rng, RngExt};

/// How the waits grow.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Default for Backoff {
    /// From 100 ms to 10 s: a worker is back soon after a restart of its server, and an outage costs
    /// ten attempts a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Backoff {
    /// The first ceiling, and the highest.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// The ceiling of the next wait.
    pub fn ceiling(&self) -> Duration {
        let factor = 2u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        self.first.checked_mul(factor).unwrap_or(self.cap).min(self.cap)
    }

    /// How long to wait before trying once more.
    pub fn next(&mut self, random: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.random::<f64>())
    }

    /// To be called when the connection has proved itself, not merely opened: a peer that accepts and
    /// closes at once must not be hammered.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn waits_stay_between_zero_and_a_ceiling_that_doubles_up_to_the_cap(
            first in 1u64..10_000, cap in 1u64..100_000, tries in 1u32..200, seed: u64,
        ) {
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(cap));
            let mut backoff = Backoff::new(first, cap);
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let mut ceiling = first.min(cap);
            for _ in 0..tries {
                prop_assert_eq!(backoff.ceiling(), ceiling);
                prop_assert!(backoff.next(&mut random) <= ceiling);
                ceiling = (ceiling * 2).min(cap);
            }
            backoff.reset();
            prop_assert_eq!(backoff.ceiling(), first.min(cap));
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let cap = Duration::from_secs(1);
        let waits: Vec<_> = (0..1000).map(|_| Backoff::new(cap, cap).next(&mut random)).collect();
        assert!(waits.iter().any(|wait| *wait < cap / 10));
        assert!(waits.iter().any(|wait| *wait > cap * 9 / 10));
    }
}
