//! The node's side of the lease: how long what it holds may live without a word from the server, and
//! whether an order still comes in time. Pure: the caller brings the time.
//!
//! Times are CLOCK_BOOTTIME (it counts suspended time), as [`boot_time`] reads it. Why the lease runs from
//! the node's own sending is told in `docs/decisions/0001-stream-and-lease.md`.

use std::{collections::VecDeque, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::{Code, Problem, limits, v1::LeaseRenewal};

/// Answers remembered. The server sends no renewal before the last one was answered or was due, so that a
/// handful would do.
const REMEMBERED: usize = 64;

/// Time since boot, suspended time included.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// A node's lease.
#[derive(Clone, Debug)]
pub struct Lease {
    length: Duration,
    until: Duration,
    /// When the Hello (number 0) and each answer were sent.
    sent: VecDeque<(u64, Duration)>,
}

impl Lease {
    /// Begins with a Welcome to a Hello that was sent at `hello_sent`. No server can make it longer than
    /// [`limits::LEASE_RANGE`] allows: what is held is to end when nothing more is heard.
    pub fn new(length: Duration, hello_sent: Duration) -> Self {
        let length = length.min(*limits::LEASE_RANGE.end());
        Self { length, until: hello_sent.saturating_add(length), sent: VecDeque::from([(0, hello_sent)]) }
    }

    /// Begins anew after a reconnect; what was left of the earlier lease stays.
    #[must_use]
    pub fn attached_again(&self, length: Duration, hello_sent: Duration) -> Self {
        let mut lease = Self::new(length, hello_sent);
        lease.until = lease.until.max(self.until);
        lease
    }

    /// Takes a renewal in. The caller sends the answer at once; `now` is when.
    pub fn renewed(&mut self, renewal: &LeaseRenewal, now: Duration) {
        if let Some(sent) = self.sent_at(renewal.answered) {
            self.until = self.until.max(sent.saturating_add(self.length));
        }
        self.sent.retain(|(number, _)| *number >= renewal.answered);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((renewal.number, now));
    }

    /// When what is held ends at the latest.
    pub const fn until(&self) -> Duration {
        self.until
    }

    /// How long it lasts without a renewal.
    pub const fn length(&self) -> Duration {
        self.length
    }

    /// Takes in an order that builds on that answer. If it comes in time, it is a sign of life as good as a
    /// renewal: the lease runs from that answer, also where it was over before.
    ///
    /// # Errors
    /// [`Code::OrderTooLate`]: it was under way for longer than `start_within` or the lease.
    pub fn ordered(&mut self, answered: u64, start_within: Duration, now: Duration) -> Result<(), Problem> {
        let patience = self.length.min((self.length / 2).saturating_add(start_within));
        match self.sent_at(answered) {
            Some(sent) if now < sent.saturating_add(patience) => {
                self.until = self.until.max(sent.saturating_add(self.length));
                Ok(())
            }
            _ => Err(Problem::new(
                Code::OrderTooLate,
                "the order was under way for longer than it may be, so it was not carried out",
            )
            .hint("order it again once the agent answers")),
        }
    }

    fn sent_at(&self, number: u64) -> Option<Duration> {
        self.sent.iter().find(|(sent, _)| *sent == number).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(15);

    fn renewal(number: u64, answered: u64) -> LeaseRenewal {
        LeaseRenewal { number, answered, epoch: 1 }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_renewal_extends_the_lease_from_when_the_answer_before_it_was_sent() {
        let mut lease = Lease::new(LENGTH, at(100));
        assert_eq!(lease.until(), at(115));
        lease.renewed(&renewal(1, 0), at(105));
        assert_eq!(lease.until(), at(115));
        lease.renewed(&renewal(2, 1), at(110));
        assert_eq!(lease.until(), at(120));
    }

    #[test]
    fn a_lease_of_a_billion_years_is_as_long_as_the_longest_that_there_is() {
        let longest = *limits::LEASE_RANGE.end();
        for length in [Duration::MAX, Duration::from_secs(i64::MAX.unsigned_abs()), at(10_000_000_000_000)] {
            let mut lease = Lease::new(length, at(100)).attached_again(length, at(101));
            assert_eq!((lease.length(), lease.until()), (longest, at(101) + longest));
            lease.renewed(&renewal(1, 0), at(105));
            assert!(lease.ordered(1, Duration::MAX, at(106)).is_ok());
            assert_eq!(lease.until(), at(105) + longest);
        }
    }

    #[test]
    fn a_renewal_that_waited_in_a_socket_buffer_revives_nothing() {
        let mut lease = Lease::new(LENGTH, at(100));
        lease.renewed(&renewal(1, 0), at(101));
        lease.renewed(&renewal(2, 1), at(500));
        assert_eq!(lease.until(), at(116));
        assert!(lease.ordered(1, at(5), at(500)).is_err());
        assert_eq!(lease.until(), at(116));
    }

    #[test]
    fn an_order_that_builds_on_an_answer_of_long_ago_or_on_none_is_refused() {
        let mut lease = Lease::new(LENGTH, at(100));
        lease.renewed(&renewal(1, 0), at(110));
        assert!(lease.ordered(1, at(5), at(112)).is_ok());
        assert!(lease.ordered(1, at(5), at(126)).is_err());
        assert!(lease.ordered(7, at(5), at(112)).is_err());
    }

    #[test]
    fn an_order_in_time_revives_a_lease_that_ran_out_between_two_idle_renewals() {
        let mut lease = Lease::new(LENGTH, at(100));
        lease.renewed(&renewal(1, 0), at(110));
        assert_eq!(lease.until(), at(115));
        assert!(lease.ordered(1, at(5), at(117)).is_ok());
        assert_eq!(lease.until(), at(125));
    }

    #[test]
    fn what_was_left_of_the_lease_outlives_a_reconnect() {
        let lease = Lease::new(LENGTH, at(100)).attached_again(at(2), at(101));
        assert_eq!(lease.until(), at(115));
        assert_eq!(lease.length(), at(2));
    }

    proptest! {
        #[test]
        fn the_lease_never_outlives_the_newest_answer_that_the_server_had_by_more_than_its_length(
            gaps in prop::collection::vec((0u64..40, any::<bool>()), 1..80),
        ) {
            let mut now = at(1000);
            let mut lease = Lease::new(LENGTH, now);
            let (mut newest_known, mut last) = (now, (0, now));
            for (number, (gap, heard)) in (1u64..).zip(gaps) {
                now += at(gap);
                let answered = if heard { newest_known = last.1; last.0 } else { u64::MAX };
                lease.renewed(&renewal(number, answered), now);
                prop_assert!(lease.until() <= newest_known + LENGTH);
                last = (number, now);
            }
        }
    }
}
