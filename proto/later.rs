//! Moments after a time span that somebody else named. `+` ends the program where the sum is out of the clock's range.

use std::time::{Duration, SystemTime};

/// A moment of a clock.
pub trait Later: Copy {
    /// So much later; where the clock can not tell that, as late as nobody will wait for.
    #[must_use]
    fn later(self, span: Duration) -> Self;
}

/// A hundred years.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl Later for SystemTime {
    fn later(self, span: Duration) -> Self {
        self.checked_add(span).or_else(|| self.checked_add(FAR)).unwrap_or(self)
    }
}

impl Later for tokio::time::Instant {
    fn later(self, span: Duration) -> Self {
        self.checked_add(span).or_else(|| self.checked_add(FAR)).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_no_clock_can_tell_is_as_good_as_for_ever() {
        let now = SystemTime::now();
        assert_eq!(now.later(Duration::from_secs(1)), now + Duration::from_secs(1));
        let last = SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs());
        for span in [Duration::MAX, Duration::from_secs(i64::MAX.unsigned_abs())] {
            assert_eq!(now.later(span), now + FAR);
            assert_eq!(last.later(span), last);
            let now = tokio::time::Instant::now();
            assert_eq!(now.later(span), now + FAR);
        }
    }
}
