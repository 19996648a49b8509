//! `kittyctl operation …`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{examples, value};

#[derive(Debug, Subcommand)]
pub(crate) enum OperationCommand {
    /// Start an operation, or change the one of that name
    ///
    /// At each multiple of its interval on the clock it draws one random target, then rolls its probability,
    /// then strikes. What is not given has the kind's default.
    #[command(after_help = examples::OPERATION_PUT)]
    Put(Box<PutArgs>),
    /// List the operations that run
    #[command(after_help = examples::OPERATION_LIST)]
    List,
    /// End an operation; faults that it began go on to their own end
    #[command(after_help = examples::OPERATION_DELETE)]
    Delete {
        /// The operation's name
        name: String,
    },
}

/// What the kitty does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Delays, every 30s, probability 0.3
    Hairball,
    /// Signals that take processes down, every 60s, probability 0.1
    Scratch,
    /// Memory spikes, every 30s, probability 0.2
    Floop,
    /// Processor spikes, every 30s, probability 0.2
    Zoomies,
    /// Errors in guarded requests, every 45s, probability 0.15
    Yowl,
    /// Garbage collections, every 60s, probability 0.2
    Groom,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PutArgs {
    /// Names it among the operations
    pub(crate) name: String,
    /// What it does [default: what its name says]
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Time between rounds
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) interval: Option<Duration>,
    /// Of each round, 0 to 1
    #[arg(long, value_name = "P", value_parser = value::probability)]
    pub(crate) probability: Option<f64>,
    /// Random seed: same seed and roster, same strikes
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw only from targets of this platform
    #[arg(long, value_parser = value::platform)]
    pub(crate) platform: Option<String>,
    /// Draw only from this group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Draw only from targets with this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
}

/// What only some kinds take.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Parameters of the kinds")]
pub(crate) struct Parameters {
    /// hairball: shortest delay [default: 500ms]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) min_delay: Option<Duration>,
    /// hairball: longest delay [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) max_delay: Option<Duration>,
    /// scratch: the signal [default: TERM]
    #[arg(long)]
    pub(crate) signal: Option<String>,
    /// floop: smallest spike in MB [default: 10]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) min_size_mb: Option<u32>,
    /// floop: largest spike in MB [default: 100]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_size_mb: Option<u32>,
    /// floop: how long the memory is held [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) hold_duration: Option<Duration>,
    /// zoomies: shortest spike [default: 500ms]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub(crate) min_duration: Option<Duration>,
    /// zoomies: longest spike [default: 3s]
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) max_duration: Option<Duration>,
    /// yowl: one of these each time; may be repeated [default: five of the kitty's own]
    #[arg(long = "message", value_name = "TEXT")]
    pub(crate) messages: Vec<String>,
    /// yowl: how long the error is in force [default: 5s]
    #[arg(long, value_parser = value::positive_duration)]
    pub(crate) duration: Option<Duration>,
}
