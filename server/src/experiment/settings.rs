//! The numbers that experiments go by.

use std::time::Duration;

use super::method::Automated;

/// See the module. What a method or a suite says of its own goes before these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often all experiments are looked at; news of their targets and faults are looked at when they come.
    pub tick: Duration,
    /// Health is looked at from here on.
    pub minimum: Duration,
    /// Self healing begins here.
    pub maximum: Duration,
    /// From a healthy state to the finalize step.
    pub finalization: Duration,
    /// Between two attempts at self healing.
    pub self_healing_interval: Duration,
    /// Attempts at self healing before an experiment has failed.
    pub self_healing_retries: u32,
    /// How long a step (a health check, a recycling, a script's command) may take.
    pub step_timeout: Duration,
    /// How often stop conditions are checked.
    pub probe_interval: Duration,
    /// Suites kept in the history; the oldest go first.
    pub history: u32,
    /// Targets of each group that are left alone where a suite says nothing, and at least.
    pub min_survivors: usize,
    /// Build a suite while experiments of another are not over.
    pub concurrent_suites: bool,
    /// Methods that may be drawn by chance.
    pub automated: Automated,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(15),
            minimum: Duration::from_secs(30),
            maximum: Duration::from_secs(300),
            finalization: Duration::from_secs(30),
            self_healing_interval: Duration::from_secs(300),
            self_healing_retries: 10,
            step_timeout: Duration::from_secs(60),
            probe_interval: Duration::from_secs(1),
            history: 100_000,
            min_survivors: 1,
            concurrent_suites: false,
            automated: Automated::default(),
        }
    }
}
