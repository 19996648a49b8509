//! One file per noun: arguments become requests (pure functions), answers go to the output.

mod action;
mod admin;
mod agent;
mod completion;
mod demo;
mod event;
mod experiment;
mod halt;
mod interrupt;
mod operation;
mod pages;
mod platform;
mod schedule;
mod script;
mod status;
mod target;
mod top;
mod unleash;

use crate::{
    args::{Args, Command},
    failure::Outcome,
    output::Output,
};

/// Runs one command.
pub(crate) async fn run(args: Args, out: &Output) -> Outcome {
    let global = &args.global;
    match args.command {
        Command::Status => status::run(global, out).await,
        Command::Agent(command) => agent::run(&command, global, out).await,
        Command::Target(command) => target::run(command, global, out).await,
        Command::Platform(command) => platform::run(&command, global, out).await,
        Command::Unleash(command) => unleash::run(command, global, out).await,
        Command::Action(command) => action::run(command, global, out).await,
        Command::Halt { reason } => halt::halt(reason, global, out).await,
        Command::Resume => halt::resume(global, out).await,
        Command::Operation(command) => operation::run(command, global, out).await,
        Command::Experiment(command) => experiment::run(command, global, out).await,
        Command::Script(command) => script::run(command, global, out).await,
        Command::Schedule(command) => schedule::run(command, global, out).await,
        Command::Admin(command) => admin::run(command, global, out).await,
        Command::Top => top::run(global, out).await,
        Command::Event(command) => event::run(command, global, out).await,
        Command::Completion { shell } => completion::run(shell, out),
        Command::Demo => demo::run(out).await,
    }
}

/// Who asks, for the record.
fn source() -> String {
    let name = |variable: &&str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(name).unwrap_or_else(|| "kittyctl".to_owned())
}
