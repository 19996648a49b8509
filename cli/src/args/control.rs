//! `kittyctl script …`, `kittyctl schedule …`, `kittyctl admin …`

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{examples, value};

#[derive(Debug, Subcommand)]
pub(crate) enum ScriptCommand {
    /// List the scripts that there are
    #[command(after_help = examples::SCRIPT_LIST)]
    List,
    /// Print a script
    #[command(after_help = examples::SCRIPT_SHOW)]
    Show {
        /// The script's name, e.g. cpuBurn.sh
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Show when experiments start by themselves, and on what
    #[command(after_help = examples::SCHEDULE_SHOW)]
    Show,
    /// Let experiments start by themselves
    #[command(after_help = examples::SCHEDULE_ON)]
    On,
    /// Let no experiment start by itself; those that run go on
    #[command(after_help = examples::SCHEDULE_OFF)]
    Off,
    /// Set how long after the last experiment the next one may start by itself
    #[command(after_help = examples::SCHEDULE_BACKOFF)]
    Backoff {
        /// E.g. 15m, 1h30m, PT15M
        #[arg(value_parser = value::duration)]
        duration: Duration,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Show the administrative state, or set it
    ///
    /// It survives a restart of the server. A halt is ABORT with everything reverted, and only resume leaves it.
    #[command(after_help = examples::ADMIN_STATE)]
    State {
        /// The state to be set; none: show it
        #[arg(value_enum, ignore_case = true)]
        state: Option<AdminState>,
    },
}

/// An administrative state that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum AdminState {
    /// Everything
    Started,
    /// Nothing at all: no new experiments, no self healing, no finalizing. Faults in force still end in time
    Paused,
    /// Nothing new; what runs goes through to its end
    Drain,
    /// Nothing new; what runs goes to self healing at once
    Abort,
}
