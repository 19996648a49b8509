//! `kittyctl unleash …`

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};

use super::{examples, value};

#[derive(Debug, Subcommand)]
pub(crate) enum UnleashCommand {
    /// Let the target stand still
    ///
    /// A process is paused with all its descendants. A worker's executor is blocked, or with --requests
    /// each request and call that its SDK guards is held back.
    #[command(after_help = examples::UNLEASH_DELAY)]
    Delay {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// Workers: hold back each guarded request instead of blocking the executor
        #[arg(long)]
        requests: bool,
        /// How long each request is held back [default: the whole duration]
        #[arg(long, value_name = "DURATION", requires = "requests", value_parser = value::positive_duration)]
        per_request: Option<Duration>,
    },
    /// Send a signal that takes the target down, or does what its handler does
    #[command(after_help = examples::UNLEASH_KILL)]
    Kill {
        #[command(flatten)]
        choice: Choice,
        /// TERM, SIGKILL, 9, … [default: TERM]
        #[arg(long)]
        signal: Option<String>,
        /// The whole process tree instead of the main process
        #[arg(long)]
        tree: bool,
        /// Containers: through their engine, so that no restart policy brings them back. Pods: the API deletes them, for
        /// KILL without grace
        #[arg(long)]
        through_runtime: bool,
        /// Pods: the API evicts them, if their disruption budget allows it
        #[arg(long, conflicts_with_all = ["through_runtime", "signal", "tree"])]
        evict: bool,
    },
    /// Take memory, make it resident, hold it, give it back
    #[command(after_help = examples::UNLEASH_MEMORY)]
    Memory {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// How much, e.g. 256MiB
        #[arg(long, value_parser = value::size)]
        size: u64,
    },
    /// Burn processor time
    ///
    /// Without --cores the load is a percentage of the target's quota (of its allowed CPUs where it has none).
    #[command(after_help = examples::UNLEASH_CPU)]
    Cpu {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// Load this many cores
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        cores: Option<u32>,
        /// Percent, 1 to 100 [default: 100]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
        load: Option<u32>,
    },
    /// Run the target's garbage collector
    #[command(after_help = examples::UNLEASH_GC)]
    Gc {
        #[command(flatten)]
        choice: Choice,
    },
    /// Let requests and calls that the worker SDK guards fail
    #[command(after_help = examples::UNLEASH_ERROR)]
    Error {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// The error's message [default: Yowl! Chaos kitty struck!]
        #[arg(long)]
        message: Option<String>,
        /// Of each request, above 0 to 1 [default: 1]
        #[arg(long, value_parser = value::likelihood)]
        probability: Option<f64>,
        /// End after this many failures
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        times: Option<u64>,
        /// Only guarded points of this name
        #[arg(long, value_name = "NAME")]
        point: Option<String>,
    },
    /// Have a unit or container ended and started again by whoever runs it
    #[command(after_help = examples::UNLEASH_RESTART)]
    Restart {
        #[command(flatten)]
        choice: Choice,
    },
    /// Have a unit or container ended in order, and started again afterwards
    #[command(after_help = examples::UNLEASH_STOP)]
    Stop {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// Have it killed instead of asked to end
        #[arg(long)]
        kill: bool,
    },
    /// Have whoever makes a pod keep fewer of them, and as many as before afterwards
    #[command(after_help = examples::UNLEASH_SCALE)]
    Scale {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// How many are left
        #[arg(long)]
        replicas: u32,
    },
    /// Run a script on the target, in a cgroup of its own
    #[command(after_help = examples::UNLEASH_SCRIPT)]
    Script {
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        hold: Hold,
        /// The script's name, e.g. cpuBurn.sh
        name: String,
        /// Its arguments, after --
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// Whom it hits.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("whom").required(true).multiple(true).args(["target", "group", "platform", "labels"]))]
pub(crate) struct Choice {
    /// One target: its id, its unique name, or process/HOST/RULE
    #[arg(long, value_name = "ID", conflicts_with_all = ["group", "platform", "labels", "count", "percent", "seed"])]
    pub(crate) target: Option<String>,
    /// Some targets of this group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only targets of this platform, e.g. process or ProcessPlatform
    #[arg(long, value_parser = value::platform)]
    pub(crate) platform: Option<String>,
    /// Only targets with this label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// At most this many targets [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Percent of the group, above 0 to 100
    #[arg(long, value_name = "P", conflicts_with = "count", value_parser = value::percent)]
    pub(crate) percent: Option<f64>,
    /// Random seed of the choice: same roster, same choice
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Do not wait for the end: leave as soon as the agents have the orders
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// How long it is held.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Hold {
    /// How long the fault is held, e.g. 500ms, 2s, 1h30m, PT5S
    #[arg(long, alias = "hold", value_parser = value::positive_duration)]
    pub(crate) duration: Duration,
}

impl UnleashCommand {
    /// Whom it hits, whatever it does.
    pub(crate) fn choice(&self) -> &Choice {
        match self {
            Self::Delay { choice, .. }
            | Self::Kill { choice, .. }
            | Self::Memory { choice, .. }
            | Self::Cpu { choice, .. }
            | Self::Gc { choice }
            | Self::Restart { choice }
            | Self::Stop { choice, .. }
            | Self::Scale { choice, .. }
            | Self::Error { choice, .. }
            | Self::Script { choice, .. } => choice,
        }
    }
}
