//! The largest value within a sliding window: a group of two does not become a group of one because its
//! other member was just killed.

use std::{collections::VecDeque, time::Duration};

use chaos_kitty::Later;
use tokio::time::Instant;

/// A monotonic queue: sizes fall from front to back, so that it stays short.
#[derive(Debug, Default)]
pub(super) struct Peak {
    sizes: VecDeque<(Instant, usize)>,
}

impl Peak {
    /// The size is this, as of now.
    pub(super) fn record(&mut self, size: usize, window: Duration, now: Instant) {
        while self.sizes.back().is_some_and(|(_, earlier)| *earlier <= size) {
            self.sizes.pop_back();
        }
        while self.sizes.front().is_some_and(|(at, _)| at.later(window) < now) {
            self.sizes.pop_front();
        }
        self.sizes.push_back((now, size));
    }

    /// The largest size recorded within the window before now, and when it was so for the last time.
    pub(super) fn within(&self, window: Duration, now: Instant) -> (usize, Instant) {
        let recent = self.sizes.iter().filter(|(at, _)| at.later(window) >= now);
        recent.max_by_key(|(at, size)| (*size, *at)).map_or((0, now), |(at, size)| (*size, *at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_largest_size_recorded_within_the_window(
            steps in prop::collection::vec((0u64..100, 0usize..10), 1..100), window in 1u64..300,
        ) {
            let (mut now, window) = (Instant::now(), Duration::from_secs(window));
            let (mut peak, mut all) = (Peak::default(), Vec::new());
            for (gap, size) in steps {
                now += Duration::from_secs(gap);
                peak.record(size, window, now);
                all.push((now, size));
                let expected = all.iter().filter(|(at, _)| *at + window >= now);
                let expected = expected.max_by_key(|(at, size)| (*size, *at)).map(|(at, size)| (*size, *at));
                prop_assert_eq!(Some(peak.within(window, now)), expected);
            }
        }
    }
}
