//! When the next round is.

use std::time::Duration;

/// The wait from `now` (since the Unix epoch, on the wall clock) to the next multiple of `interval`, which is
/// not zero: more than nothing, and `interval` at the most.
///
/// `struck` says that a round was just run. A wait of less than half an interval then means that the wall
/// clock ran slow against the timer and the round came a little before its multiple: that multiple is not
/// struck a second time.
pub(super) fn until_next(now: Duration, interval: Duration, struck: bool) -> Duration {
    let into = now.as_nanos() % interval.as_nanos();
    let into = Duration::new((into / 1_000_000_000) as u64, (into % 1_000_000_000) as u32);
    let wait = interval - into;
    if struck && wait < interval / 2 { wait + interval } else { wait }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_wait_is_the_interval_less_now_modulo_the_interval() {
        assert_eq!(until_next(95_250 * MS, 30_000 * MS, false), 24_750 * MS);
        assert_eq!(until_next(90_000 * MS, 30_000 * MS, false), 30_000 * MS);
        assert_eq!(until_next(119_999 * MS, 30_000 * MS, false), MS);
    }

    #[test]
    fn a_round_that_came_a_little_early_is_not_run_twice() {
        assert_eq!(until_next(119_999 * MS, 30_000 * MS, true), 30_001 * MS);
        assert_eq!(until_next(120_001 * MS, 30_000 * MS, true), 29_999 * MS);
    }

    proptest! {
        #[test]
        fn wherever_the_clock_jumps_the_next_round_is_aligned_and_near(
            now in 0..u64::MAX, interval in 1..u64::MAX / 4, struck: bool,
        ) {
            let (now, interval) = (Duration::from_nanos(now), Duration::from_nanos(interval));
            let wait = until_next(now, interval, struck);
            prop_assert_eq!((now + wait).as_nanos() % interval.as_nanos(), 0);
            prop_assert!(wait > Duration::ZERO && wait <= interval * 3 / 2);
        }
    }
}
