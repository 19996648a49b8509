//! The numbers that experiments go by, unless a method or a suite has its own.

use std::time::Duration;

use chaos_kitty::units::positive_duration;
use clap::{Args, value_parser};

use crate::experiment::Settings;

/// See the module.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Experiments")]
pub struct ExperimentArgs {
    /// How often all experiments are looked at, and new ones begun
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "15s")]
    pub experiment_tick: Duration,
    /// Health is looked at from here on
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    pub experiment_minimum: Duration,
    /// A target that is not healthy by then goes to self healing; faults are held no longer
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "5m")]
    pub experiment_maximum: Duration,
    /// From a healthy state to the finalize step
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    pub finalization: Duration,
    /// Between two attempts at self healing
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "5m")]
    pub self_healing_interval: Duration,
    /// Attempts at self healing before an experiment has failed
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub self_healing_retries: u32,
    /// How long a health check, a recycling or a script's own command may take
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "1m")]
    pub step_timeout: Duration,
    /// How often the probes of a suite are asked
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "1s")]
    pub probe_interval: Duration,
    /// Suites kept in the history; the oldest go first
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(1..), default_value_t = 100_000)]
    pub history_kept: u32,
    /// Build a suite also while experiments of another are not over
    #[arg(long)]
    pub concurrent_suites: bool,
}

impl ExperimentArgs {
    /// What experiments need; of each group so many are left alone, and these methods may be drawn.
    pub(super) fn settings(&self, min_survivors: usize, automated: &[String]) -> Settings {
        Settings {
            tick: self.experiment_tick,
            minimum: self.experiment_minimum,
            maximum: self.experiment_maximum,
            finalization: self.finalization,
            self_healing_interval: self.self_healing_interval,
            self_healing_retries: self.self_healing_retries,
            step_timeout: self.step_timeout,
            probe_interval: self.probe_interval,
            history: self.history_kept,
            min_survivors,
            concurrent_suites: self.concurrent_suites,
            automated: automated.iter().cloned().collect(),
        }
    }
}
