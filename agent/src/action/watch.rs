//! Whether an effect goes on: it is looked at while it is held, so that what is told of it is what was seen.

use std::time::Duration;

use chaos_kitty::Problem;
use chaos_kitty_guard::{clock::boot_time, message::Reverted};

/// How often what the kernel tells is looked at.
pub(super) const OFTEN: Duration = Duration::from_millis(200);

/// How often whoever runs a target is asked.
pub(super) const SELDOM: Duration = Duration::from_millis(500);

/// The pause after a look is at least this many times what the look took, so that it costs at most 2 % of a core.
const PAUSE_PER_LOOK: u32 = 50;

/// Before an effect counts as lost it is looked at once more, for a process that is being killed runs for a moment.
const CONFIRM: Duration = Duration::from_millis(20);

/// What a look showed.
#[derive(Debug)]
pub(super) enum Seen {
    InForce,
    /// It is not in force any more, and why that matters.
    Lost(Problem),
    /// Nothing could be seen, which proves nothing.
    Nothing,
}

/// When an effect was last seen to be in force.
#[derive(Debug)]
pub(super) struct Watch {
    every: Duration,
    last: Duration,
    missed: Option<Duration>,
}

impl Watch {
    /// Looks this often.
    pub(super) const fn every(every: Duration) -> Self {
        Self { every, last: Duration::ZERO, missed: None }
    }

    /// Takes in what a look showed that began at `looked`. Returns the pause until the next one.
    ///
    /// # Errors
    /// It is lost.
    pub(super) fn saw(&mut self, looked: Duration, seen: Seen) -> Result<Duration, Problem> {
        let now = boot_time();
        match seen {
            Seen::Lost(problem) if self.missed.is_some() => return Err(problem),
            Seen::Lost(_) => {
                self.missed = Some(now);
                return Ok(CONFIRM);
            }
            Seen::InForce => (self.last, self.missed) = (looked, None),
            Seen::Nothing => {}
        }
        Ok(self.every.max(now.saturating_sub(looked) * PAUSE_PER_LOOK))
    }

    /// It is over since then, as is known now.
    pub(super) fn over_since(&mut self, at: Duration) {
        (self.last, self.missed) = (at, Some(boot_time()));
    }

    /// Until when it was in force: until it was put back, or if it was lost before that, until it was last seen.
    pub(super) fn until(&self, reverted: &Reverted) -> Duration {
        match self.missed {
            Some(at) if at < reverted.began => self.last,
            _ => reverted.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::Code;
    use chaos_kitty_guard::message::Why;

    use super::*;

    fn lost() -> Seen {
        Seen::Lost(Problem::new(Code::EffectLost, "it runs"))
    }

    fn put_back(at: Duration) -> Reverted {
        Reverted { id: String::new(), why: Why::Deadline, began: at, at, settled: true, outcomes: Vec::new() }
    }

    #[test]
    fn an_effect_is_lost_when_two_looks_miss_it() {
        let mut watch = Watch::every(OFTEN);
        let seen = boot_time();
        assert!(watch.saw(seen, Seen::InForce).unwrap() >= OFTEN);
        assert_eq!(watch.saw(boot_time(), lost()).unwrap(), CONFIRM);
        watch.saw(boot_time(), Seen::InForce).unwrap();
        watch.saw(boot_time(), lost()).unwrap();
        assert_eq!(watch.saw(boot_time(), lost()).unwrap_err().code, Code::EffectLost);
    }

    #[test]
    fn it_was_held_until_it_was_last_seen_unless_the_guard_ended_it() {
        let mut watch = Watch::every(OFTEN);
        let (seen, before) = (boot_time(), boot_time());
        watch.saw(seen, Seen::InForce).unwrap();
        assert_eq!(watch.until(&put_back(before)), before, "nothing was missed");
        watch.saw(boot_time(), lost()).unwrap();
        assert_eq!(watch.until(&put_back(before)), before, "the guard had begun");
        let later = boot_time() + Duration::from_secs(1);
        assert_eq!(watch.until(&put_back(later)), seen, "it was lost before");
    }

    #[test]
    fn a_look_that_takes_long_is_taken_seldom() {
        let mut watch = Watch::every(OFTEN);
        let looked = boot_time().saturating_sub(Duration::from_millis(100));
        assert!(watch.saw(looked, Seen::Nothing).unwrap() >= Duration::from_secs(5));
    }
}
