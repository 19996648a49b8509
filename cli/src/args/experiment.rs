//! `kittyctl experiment …`

use std::path::PathBuf;

use chaos_kitty::Timestamp;
use clap::{Args, Subcommand, ValueHint};

use super::{examples, value};

#[derive(Debug, Subcommand)]
pub(crate) enum ExperimentCommand {
    /// Build the experiments of a document: all of them or none
    ///
    /// They begin at the server's next tick, and go on whether or not somebody waits for them.
    #[command(after_help = examples::EXPERIMENT_BUILD)]
    Build(BuildArgs),
    /// List experiments that are not over
    #[command(after_help = examples::EXPERIMENT_LIST)]
    List {
        /// Those that are over too, newest first
        #[arg(long)]
        all: bool,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one experiment, with every change of its state
    #[command(after_help = examples::EXPERIMENT_GET)]
    Get {
        /// The experiment's id
        id: String,
    },
    /// Follow one experiment until it is over
    ///
    /// Exit code 3 if it ends FAILED. Ctrl-C ends the watching, not the experiment.
    #[command(after_help = examples::EXPERIMENT_WATCH)]
    Watch {
        /// The experiment's id
        id: String,
    },
    /// Start experiments as the scheduler would, but now
    #[command(after_help = examples::EXPERIMENT_START)]
    Start {
        /// On this target: its id, its unique name or its numeric identity. Without it: on random targets of a
        /// random platform
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// Follow them until they are over; exit code 3 if their suite FAILED, 5 if it was ABORTED, 1 if it ERRORED
        #[arg(long)]
        wait: bool,
    },
    /// Put an experiment's target back now, as at its maximum duration
    #[command(after_help = examples::EXPERIMENT_STOP)]
    Stop {
        /// The experiment's id
        id: String,
    },
    /// List the methods that there are
    #[command(after_help = examples::EXPERIMENT_METHODS)]
    Methods {
        /// Only those for targets of this platform, e.g. process or ProcessPlatform
        #[arg(long, value_parser = value::platform)]
        platform: Option<String>,
    },
    /// List the suites that ran, newest first
    ///
    /// With -o json or yaml: a map from the time of each suite to the document that builds the like again.
    #[command(after_help = examples::EXPERIMENT_HISTORY)]
    History {
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Build the like of a suite that ran
    #[command(after_help = examples::EXPERIMENT_REPLAY)]
    Replay {
        /// The suite's time, as `experiment history` shows it
        #[arg(value_parser = value::timestamp)]
        timestamp: Timestamp,
        /// With the random seed that it had: on the same roster, the same targets
        #[arg(long)]
        same: bool,
        #[command(flatten)]
        how: How,
    },
    /// Show all that is known of a suite that ran
    #[command(after_help = examples::EXPERIMENT_RECORD)]
    Record {
        /// The suite's time, as `experiment history` shows it
        #[arg(value_parser = value::timestamp)]
        timestamp: Timestamp,
    },
    /// Say how identical two suites were
    ///
    /// Compares what was asked for, the random seed, the roster of each group, the agents, and for each
    /// method its targets, what is known of them, the outcomes and the durations.
    #[command(after_help = examples::EXPERIMENT_DIFF)]
    Diff {
        /// The time of the one, as `experiment history` shows it
        #[arg(value_parser = value::timestamp)]
        a: Timestamp,
        /// The time of the other
        #[arg(value_parser = value::timestamp)]
        b: Timestamp,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The document, in JSON; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Random seed of the choice of targets, instead of the document's: same roster, same choice
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How a suite is built.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct How {
    /// Say which targets and methods it would take, and start nothing
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// Follow all of them until they are over; exit code 3 if the suite FAILED, 5 if it was ABORTED, 1 if it ERRORED. Ctrl-C ends the
    /// waiting, not the experiments
    #[arg(long)]
    pub(crate) wait: bool,
}
