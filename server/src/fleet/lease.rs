//! The server's side of a node's lease. Pure: the caller brings the time.
//!
//! The node counts from when it sent an answer; here it is known only when the answer arrived, which is
//! later. So the lease is over at [`LeaseClock::over_by`] at the latest, whatever the network did.

use std::time::Duration;

use chaos_kitty::{limits, v1::LeaseRenewal};
use tokio::time::Instant;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseClock {
    length: Duration,
    /// Number of the last renewal sent.
    sent: u64,
    /// Highest number answered; 0 is the Hello.
    answered: u64,
    answered_at: Instant,
}

impl LeaseClock {
    /// Begins with the arrival of a Hello.
    pub(super) const fn new(length: Duration, hello_at: Instant) -> Self {
        Self { length, sent: 0, answered: 0, answered_at: hello_at }
    }

    /// The next renewal to send.
    pub(super) const fn renew(&mut self, epoch: u64) -> LeaseRenewal {
        self.sent += 1;
        LeaseRenewal { number: self.sent, answered: self.answered, epoch }
    }

    /// Takes an answer in. False: it answers what was never asked.
    pub(super) fn answer(&mut self, number: u64, now: Instant) -> bool {
        if number > self.sent {
            return false;
        }
        if number > self.answered {
            self.answered = number;
            self.answered_at = now;
        }
        true
    }

    /// The highest number answered.
    pub(super) const fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether an order may build on the last answer: it is younger than half of the lease.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.answered_at + self.length / 2
    }

    /// When the node's lease is over at the latest, if nothing more is heard.
    pub(super) fn over_by(&self) -> Instant {
        self.answered_at + self.length
    }

    /// When the next renewal is due once something is held: a third of the lease after the last answer.
    pub(super) fn due_for_holding(&self, now: Instant) -> Instant {
        now.max(self.answered_at + self.length / limits::RENEWALS_PER_LEASE)
    }

    /// How long after one renewal the next one is due.
    pub(super) fn interval(&self, holding: bool) -> Duration {
        if holding {
            self.length / limits::RENEWALS_PER_LEASE
        } else {
            (self.length * 2 / 3).min(limits::IDLE_RENEWAL)
        }
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::lease::Lease;
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(15);

    #[test]
    fn an_answer_to_what_was_never_asked_is_told_apart() {
        let now = Instant::now();
        let mut clock = LeaseClock::new(LENGTH, now);
        assert!(!clock.answer(1, now));
        assert_eq!(clock.renew(9), LeaseRenewal { number: 1, answered: 0, epoch: 9 });
        assert!(clock.answer(1, now));
        assert_eq!(clock.renew(9).answered, 1);
    }

    #[test]
    fn renewals_come_three_times_a_lease_while_something_is_held_and_seldom_else() {
        let clock = LeaseClock::new(LENGTH, Instant::now());
        assert_eq!(clock.interval(true), Duration::from_secs(5));
        assert_eq!(clock.interval(false), Duration::from_secs(10));
        let short = LeaseClock::new(Duration::from_secs(3), Instant::now());
        assert_eq!(short.interval(false), Duration::from_secs(2));
    }

    proptest! {
        /// Node and server side by side, with any delay on the way up and on the way down.
        #[test]
        fn the_nodes_lease_is_never_longer_than_the_server_believes(
            rounds in prop::collection::vec((0u64..9000, 0u64..9000, 0u64..9000, any::<bool>()), 1..60),
        ) {
            let start = Instant::now();
            let ms = Duration::from_millis;
            let mut server = LeaseClock::new(LENGTH, start);
            let mut node = Lease::new(LENGTH, Duration::ZERO);
            let mut now = Duration::ZERO;
            for (gap, down, up, lost) in rounds {
                now += ms(gap);
                let renewal = server.renew(1);
                now += ms(down);
                node.renewed(&renewal, now);
                if !lost {
                    now += ms(up);
                    server.answer(renewal.number, start + now);
                }
                prop_assert!(start + node.until() <= server.over_by());
            }
        }
    }
}
