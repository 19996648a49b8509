//! What is configured of it.

use std::{collections::BTreeMap, time::Duration};

use super::calendar::Calendar;

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the end of the last experiment to the next automatic one, until a call says otherwise.
    pub backoff: Duration,
    /// How often it is looked at.
    pub tick: Duration,
    /// Targets of each group that are left alone.
    pub min_survivors: usize,
    /// Of platforms that have no plan of their own.
    pub plan: Plan,
    /// Plans of single platforms, by their names.
    pub platforms: BTreeMap<String, Plan>,
}

/// When and on how many targets of a platform experiments start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Mean time between two of them, in working time.
    pub mean: Duration,
    /// That each target takes part, 0 to 1.
    pub probability: f64,
    /// When they may start.
    pub calendar: Calendar,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backoff: Duration::from_secs(15 * 60),
            tick: Duration::from_secs(15),
            min_survivors: 1,
            plan: Plan::default(),
            platforms: BTreeMap::new(),
        }
    }
}

impl Default for Plan {
    /// Day and night, since where people work is not known.
    fn default() -> Self {
        Self { mean: Duration::from_secs(4 * 3600), probability: 0.2, calendar: Calendar::Nonstop }
    }
}

impl Settings {
    pub(super) fn plan(&self, platform_type: &str) -> &Plan {
        self.platforms.get(platform_type).unwrap_or(&self.plan)
    }
}
