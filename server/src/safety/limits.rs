//! How much of a group, and of the fleet, may be hurt at a time. Pure.

use chaos_kitty::{Code, Problem};

/// Actions under way or in force at a time, over the whole fleet, at the most.
pub const ACTIVE_MAX: usize = 10_000;

/// What is configured. Faults of all sources count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Targets of a group of two or more that are left alone, at least 1.
    pub min_survivors: usize,
    /// Percent of a group of two or more that may be hurt, 1 to 100: rounded down, but one target may be.
    pub max_percent: u8,
    /// Actions at a time on the targets of one group.
    pub max_faults_per_group: usize,
    /// Actions at a time in the whole fleet, at most [`ACTIVE_MAX`].
    pub max_faults: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { min_survivors: 1, max_percent: 100, max_faults_per_group: ACTIVE_MAX, max_faults: ACTIVE_MAX }
    }
}

/// A group as a decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Its largest size within the window.
    pub(super) peak: usize,
    /// Members that are healthy and not hurt: whoever else was of the group counts as hurt.
    pub(super) spared: usize,
    /// Actions under way to members, or in force on them.
    pub(super) faults: usize,
}

impl Crowd {
    /// Members that are hurt, not well, or gone.
    pub(super) const fn hurt(self) -> usize {
        self.peak.saturating_sub(self.spared)
    }
}

impl Limits {
    /// Members that may be hurt at a time. A target that is on its own may be.
    fn hurt_max(&self, peak: usize) -> usize {
        if peak < 2 {
            return 1;
        }
        self.share(peak).min(peak.saturating_sub(self.min_survivors))
    }

    fn share(&self, peak: usize) -> usize {
        (peak * usize::from(self.max_percent) / 100).max(1)
    }

    /// How many more of those that are spared may be hit.
    pub(super) fn room(&self, crowd: Crowd) -> usize {
        let hurt = self.hurt_max(crowd.peak).saturating_sub(crowd.hurt());
        hurt.min(crowd.spared).min(self.max_faults_per_group.saturating_sub(crowd.faults))
    }

    /// Whether one action more may hit members of the group, of which `hits` are spared until now.
    ///
    /// # Errors
    /// [`Code::TooFewSurvivors`], [`Code::LimitReached`]: with the group and the limit.
    pub(super) fn admits(&self, group: &str, crowd: Crowd, hits: usize) -> Result<(), Problem> {
        let Crowd { peak, spared, faults } = crowd;
        let left = spared.saturating_sub(hits);
        if peak >= 2 && left < self.min_survivors {
            let message =
                format!("group {group:?} of {peak} would keep {left} unhurt, below {}", self.min_survivors);
            return Err(Problem::new(Code::TooFewSurvivors, message)
                .hint("wait until others of the group are healthy again, or add some; kittyd --min-survivors sets the limit"));
        }
        if peak.saturating_sub(left) > self.hurt_max(peak) {
            let message = format!(
                "{} of {peak} in group {group:?} would be hurt, above {} ({} %)",
                peak - left,
                self.share(peak),
                self.max_percent
            );
            return Err(Problem::new(Code::LimitReached, message)
                .hint("wait until some are healthy again; kittyd --max-percent sets the limit"));
        }
        if faults >= self.max_faults_per_group {
            let message =
                format!("{faults} actions are under way in group {group:?}, and no more than that may be");
            return Err(Problem::new(Code::LimitReached, message)
                .hint("wait until some are over; kittyd --max-faults-per-group sets the limit"));
        }
        Ok(())
    }

    /// Whether one action more may be under way in the fleet.
    ///
    /// # Errors
    /// [`Code::LimitReached`].
    pub(super) fn admits_one_more(&self, faults: usize) -> Result<(), Problem> {
        if faults < self.max_faults.min(ACTIVE_MAX) {
            return Ok(());
        }
        let message =
            format!("{faults} actions are under way or in force in the fleet, and no more than that may be");
        Err(Problem::new(Code::LimitReached, message)
            .hint("wait until some are over; kittyd --max-faults sets the limit"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(min_survivors: usize, max_percent: u8) -> Limits {
        Limits { min_survivors, max_percent, ..Limits::default() }
    }

    fn unhurt(peak: usize) -> Crowd {
        Crowd { peak, spared: peak, faults: 0 }
    }

    #[test]
    fn a_percentage_is_rounded_down_and_allows_one() {
        for (peak, percent, room) in
            [(10, 25, 2), (10, 1, 1), (2, 10, 1), (10, 100, 9), (1, 1, 1), (3, 66, 1)]
        {
            assert_eq!(limits(1, percent).room(unhurt(peak)), room, "{percent} % of {peak}");
        }
    }

    #[test]
    fn a_target_on_its_own_may_be_hit_and_a_group_below_its_survivors_may_not() {
        assert_eq!(limits(3, 100).room(unhurt(1)), 1);
        assert_eq!(limits(3, 100).room(unhurt(3)), 0);
        assert_eq!(limits(3, 100).room(unhurt(5)), 2);
        let refused = limits(3, 100).admits("web", unhurt(3), 1).unwrap_err();
        assert_eq!(refused.code, Code::TooFewSurvivors);
        assert!(refused.message.contains("\"web\" of 3 would keep 2 unhurt, below 3"), "{refused}");
    }

    proptest! {
        #[test]
        fn the_room_is_what_is_admitted_one_after_the_other(
            peak in 1usize..30, gone in 0usize..30, min_survivors in 1usize..5, max_percent in 1u8..=100,
            max_faults_per_group in 1usize..10,
        ) {
            let limits = Limits { max_faults_per_group, ..limits(min_survivors, max_percent) };
            let mut crowd = Crowd { peak, spared: peak.saturating_sub(gone), faults: 0 };
            let room = limits.room(crowd);
            let mut hit = 0;
            while crowd.spared > 0 && limits.admits("g", crowd, 1).is_ok() {
                crowd = Crowd { spared: crowd.spared - 1, faults: crowd.faults + 1, ..crowd };
                hit += 1;
            }
            prop_assert_eq!(hit, room);
            prop_assert!(peak < 2 || hit == 0 || crowd.spared >= min_survivors);
        }
    }
}
