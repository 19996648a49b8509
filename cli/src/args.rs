//! The command line as types: what can be typed, what it is called, and how each command is explained. No logic.

mod control;
mod examples;
mod experiment;
mod operation;
mod unleash;
pub(crate) mod value;

use std::{path::PathBuf, time::Duration};

use chaos_kitty::{endpoint, variables};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum, ValueHint};

pub(crate) use control::{AdminCommand, AdminState, ScheduleCommand, ScriptCommand};
pub(crate) use experiment::{BuildArgs, ExperimentCommand, How};
pub(crate) use operation::{Kind, OperationCommand, Parameters, PutArgs};
pub(crate) use unleash::{Choice, UnleashCommand};

/// Breaks things on purpose, in a controlled way, and always puts them back.
///
/// kittyctl speaks to kittyd: it shows the fleet, unleashes actions on targets, and ends them.
#[derive(Debug, Parser)]
#[command(name = "kittyctl", version, after_help = examples::KITTYCTL, propagate_version = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What of the environment looks like a setting and is none, one sentence each.
pub(crate) fn variables_without_effect() -> Vec<String> {
    let mut known = vec![endpoint::VARIABLE.to_owned()];
    collect_variables(&Args::command(), &mut known);
    variables::not_honoured(&known, variables::of_this_process())
}

fn collect_variables(command: &clap::Command, known: &mut Vec<String>) {
    let named = command.get_arguments().filter_map(clap::Arg::get_env);
    known.extend(named.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|inner| collect_variables(inner, known));
}

/// What every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The server: unix:PATH, http://HOST:PORT or https://HOST:PORT. Without it: KITTY_SERVER, else whichever
    /// answers of ./chaos_kitty.ipc, /run/chaos-kitty/chaos_kitty.ipc and http://127.0.0.1:8080
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) server: Option<String>,
    /// The authority's certificate (PEM), for https://
    #[arg(long, global = true, value_name = "FILE", env = "KITTY_TLS_CA", value_hint = ValueHint::FilePath)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// One's own certificate (PEM), where the server asks for one
    #[arg(long, global = true, value_name = "FILE", env = "KITTY_TLS_CERT", value_hint = ValueHint::FilePath)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key (PEM) of --tls-cert
    #[arg(long, global = true, value_name = "FILE", env = "KITTY_TLS_KEY", value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the address's host
    #[arg(long, global = true, value_name = "NAME", env = "KITTY_TLS_NAME")]
    pub(crate) tls_name: Option<String>,
    /// How results are written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Longest wait for an answer. Without it: 30s; for what streams (unleash, halt, experiments, event watch) what
    /// its work may take
    #[arg(long, global = true, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// How results are written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// The contract's messages as JSON; streams as one message per line
    Json,
    /// The same as YAML; streams as one document per message
    Yaml,
    /// Ids or names only, one per line
    Name,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the control plane is and does at this moment
    #[command(after_help = examples::STATUS)]
    Status,
    /// Show who is connected
    #[command(subcommand, after_help = examples::AGENT)]
    Agent(AgentCommand),
    /// Show what can be hit
    #[command(subcommand, after_help = examples::TARGET)]
    Target(TargetCommand),
    /// Show the kinds of targets
    #[command(subcommand, after_help = examples::PLATFORM)]
    Platform(PlatformCommand),
    /// Apply an action to a target, or to some of a group, and wait until it is over
    ///
    /// The command ends when all its actions are over and put back, or wait for a person (exit code 6). Ctrl-C (or SIGTERM) stops them and waits
    /// until they are put back, exit code 130; a second one leaves at once, and the faults end at their
    /// own deadlines. With --no-wait the command ends as soon as the agents have the orders.
    #[command(subcommand, after_help = examples::UNLEASH)]
    Unleash(UnleashCommand),
    /// See and stop actions
    #[command(subcommand, after_help = examples::ACTION)]
    Action(ActionCommand),
    /// Revert every fault in the fleet and admit none until resume
    #[command(after_help = examples::HALT)]
    Halt {
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a halt: faults are admitted again
    #[command(after_help = examples::RESUME)]
    Resume,
    /// Run random chaos in the background
    #[command(subcommand, after_help = examples::OPERATION)]
    Operation(OperationCommand),
    /// Hit targets by a method and see each of them through until it is well again
    #[command(subcommand, after_help = examples::EXPERIMENT)]
    Experiment(ExperimentCommand),
    /// See the scripts that experiments and actions can run
    #[command(subcommand, after_help = examples::SCRIPT)]
    Script(ScriptCommand),
    /// See and change when experiments start by themselves
    #[command(subcommand, after_help = examples::SCHEDULE)]
    Schedule(ScheduleCommand),
    /// See and change what the control plane does of its own accord
    #[command(subcommand, after_help = examples::ADMIN)]
    Admin(AdminCommand),
    /// See what happens, as it happens
    #[command(subcommand, after_help = examples::EVENT)]
    Event(EventCommand),
    /// Show the control plane live: faults, experiments, operations, the newest events
    ///
    /// Keeps up by the stream of events; q or Ctrl-C ends it. Where standard output is no terminal, or
    /// with -o json, yaml or name, it shows what there is once and ends.
    #[command(after_help = examples::TOP)]
    Top,
    /// Print a completion script for a shell
    #[command(after_help = examples::COMPLETION)]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Show the whole thing on this machine in a minute
    ///
    /// Starts a server, an agent and three example services under a temporary directory, unleashes every
    /// action on them and measures what it does, runs the operations, halts, and proves that nothing is
    /// left. Ends everything it started. Needs no root; what needs it is shown as refused. It takes the
    /// programs beside it; `cargo demo` in the workspace builds them first.
    #[command(after_help = examples::DEMO)]
    Demo,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// List agents and workers, those behind relays too
    #[command(after_help = examples::AGENT_LIST)]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// List targets, ordered by id
    #[command(after_help = examples::TARGET_LIST)]
    List {
        /// Only of this platform, e.g. process or ProcessPlatform
        #[arg(long, value_parser = value::platform)]
        platform: Option<String>,
        /// Only of this group
        #[arg(long)]
        group: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlatformCommand {
    /// List the kinds of targets and how well they can be seen
    #[command(after_help = examples::PLATFORM_LIST)]
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ActionCommand {
    /// List actions in force and those that ended lately, newest first
    #[command(after_help = examples::ACTION_LIST)]
    List {
        /// Only those that are not over
        #[arg(long)]
        active: bool,
        /// Only those on this target, by its id
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one action, with its evidence
    #[command(after_help = examples::ACTION_GET)]
    Get {
        /// The action's id
        id: String,
    },
    /// Revert an action now and wait until that is verified
    #[command(after_help = examples::ACTION_STOP)]
    Stop {
        /// The action's id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Print events until interrupted
    #[command(after_help = examples::EVENT_WATCH)]
    Watch {
        /// Only of this kind; may be repeated: agent_joined, agent_left, target_added, target_removed, action,
        /// operation_round, operation_changed, halted, resumed, target_changed, experiment, admin_state, suite
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, path: &str, seen: &mut Vec<(String, String)>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        seen.push((path.to_owned(), help));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            walk(inner, &format!("{path} {}", inner.get_name()), seen);
        }
    }

    fn commands() -> Vec<(String, String)> {
        let mut seen = Vec::new();
        walk(&Args::command(), "kittyctl", &mut seen);
        seen
    }

    #[test]
    fn every_command_has_examples() {
        let without: Vec<_> =
            commands().into_iter().filter(|(_, help)| !help.contains("Examples:\n")).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn every_example_can_be_typed() {
        for (path, help) in commands() {
            let examples = help.lines().map(str::trim).filter(|line| line.starts_with("kittyctl "));
            for line in examples {
                let typed = line.split(['|', '>']).next().unwrap_or_default();
                let words: Vec<&str> = typed.split('\'').enumerate().flat_map(quoted).collect();
                if let Err(error) = Args::try_parse_from(&words) {
                    panic!("{path}: {line}: {error}");
                }
            }
        }
    }

    /// Words between quotes stay together.
    fn quoted((index, part): (usize, &str)) -> Vec<&str> {
        if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }
}
