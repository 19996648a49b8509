//! What outlives the process: whether automatic experiments are on, and when each platform's next one is.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime},
};

use chaos_kitty::v1::{Schedule, schedule::PlatformSchedule};
use jiff::Timestamp;

/// Times of the last experiments that are kept for each platform.
const KEPT: usize = 10;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Times {
    pub(super) automated: bool,
    /// As it was told by a call. `None`: as configured.
    pub(super) backoff: Option<Duration>,
    pub(super) platforms: BTreeMap<String, PlatformTimes>,
}

/// Of one platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PlatformTimes {
    /// Not before. `None`: not drawn.
    pub(super) next: Option<Timestamp>,
    /// When the last ones started, newest first.
    pub(super) started: VecDeque<Timestamp>,
}

impl PlatformTimes {
    pub(super) fn record(&mut self, at: Timestamp) {
        self.started.push_front(at);
        self.started.truncate(KEPT);
    }
}

impl Times {
    pub(super) fn of(&mut self, platform_type: &str) -> &mut PlatformTimes {
        self.platforms.entry(platform_type.to_owned()).or_default()
    }

    /// As it is stored: the contract's message with the fields that are known here.
    pub(super) fn stored(&self) -> Schedule {
        let platform = |(name, times): (&String, &PlatformTimes)| PlatformSchedule {
            platform_type: name.clone(),
            next: times.next.map(to_wire),
            times: times.started.iter().copied().map(to_wire).collect(),
            ..PlatformSchedule::default()
        };
        Schedule {
            automated: self.automated,
            backoff: self.backoff.map(Into::into),
            platforms: self.platforms.iter().map(platform).collect(),
            ..Schedule::default()
        }
    }

    /// Back from what was stored.
    pub(super) fn restored(stored: Schedule) -> Self {
        let platform = |platform: PlatformSchedule| {
            let times = PlatformTimes {
                next: platform.next.and_then(from_wire),
                started: platform.times.into_iter().filter_map(from_wire).collect(),
            };
            (platform.platform_type, times)
        };
        Self {
            automated: stored.automated,
            backoff: stored.backoff.and_then(|backoff| backoff.try_into().ok()),
            platforms: stored.platforms.into_iter().map(platform).collect(),
        }
    }
}

/// For the contract.
pub(super) fn to_wire(at: Timestamp) -> chaos_kitty::Timestamp {
    SystemTime::from(at).into()
}

fn from_wire(at: chaos_kitty::Timestamp) -> Option<Timestamp> {
    Timestamp::try_from(at.system_time()?).ok()
}
