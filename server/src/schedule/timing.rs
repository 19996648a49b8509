//! How long it is from one automatic experiment to the next.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A random gap whose mean is `mean`, exactly: experiments come as unforeseeably as failures do.
pub(super) fn gap(mean: Duration, random: &mut impl Rng) -> Duration {
    scaled(mean, factor(random))
}

/// The gap before the first experiment of a platform: less often very short, less often very long.
pub(super) fn first_gap(mean: Duration, random: &mut impl Rng) -> Duration {
    scaled(mean, factor(random).sqrt())
}

/// Exponentially distributed with mean 1, up to 37: -ln(1-u) of a uniform u.
fn factor(random: &mut impl Rng) -> f64 {
    -(1.0 - random.random::<f64>()).ln()
}

fn scaled(mean: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(mean.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DRAWS: u32 = 10_000;
    const MEAN: Duration = Duration::from_secs(4 * 3600);

    fn mean_of(draw: impl Fn(Duration, &mut ChaCha8Rng) -> Duration, seed: u64) -> f64 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let sum: f64 = (0..DRAWS).map(|_| draw(MEAN, &mut random).as_secs_f64()).sum();
        sum / f64::from(DRAWS) / MEAN.as_secs_f64()
    }

    #[test]
    fn the_mean_of_ten_thousand_gaps_is_the_configured_one_within_three_percent() {
        for seed in 0..5 {
            let mean = mean_of(gap, seed);
            assert!((mean - 1.0).abs() < 0.03, "seed {seed}: {mean}");
        }
    }

    #[test]
    fn the_first_gap_is_that_of_the_root() {
        // The mean of the root of an exponentially distributed factor is the root of pi, halved.
        let mean = mean_of(first_gap, 1);
        assert!((mean - 0.886).abs() < 0.03, "{mean}");
    }

    #[test]
    fn gaps_are_random_and_the_same_for_a_seed() {
        let draw = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            [0; 5].map(|_| gap(MEAN, &mut random))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[0], draw(7)[1]);
    }
}
