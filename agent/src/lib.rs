//! kitty-agent as a library: carries faults out on the targets of its host.
//!
//! `uplink` (stream, relay, lease) → `executor` (admission, order of steps) → `action` (what) → `platform`
//! (where) → `host` (processes, cgroups). None of them calls upwards. `app` puts them together.

pub mod action;
mod app;
mod check;
mod config;
pub mod executor;
mod forget;
pub mod host;
pub mod journal;
mod pattern;
pub mod platform;
pub mod policy;
mod revert;
mod state;
pub mod stress;
mod uplink;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use chaos_kitty::{Problem, text};
use chaos_kitty_guard::abort_on_panic;
use platform::kubernetes::restore;

#[cfg(any(test, fuzzing))]
pub use uplink::fuzz::server_messages;

/// Runs the program as its command line says.
pub fn main() -> ExitCode {
    abort_on_panic("kitty-agent");
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(first) if first == stress::SUBCOMMAND => return stress::main(arguments),
        Some(first) if first == restore::SUBCOMMAND => return restore::main(arguments),
        _ => {}
    }
    let config = match config::load() {
        Ok(config) => config,
        Err(error) => return error.report(),
    };
    match &config.args.command {
        Some(config::Command::Check) => check::run(&config),
        Some(config::Command::Revert(wanted)) => {
            revert::run(&config, wanted).unwrap_or_else(|problem| report(&problem))
        }
        Some(config::Command::ForgetServer) => {
            forget::run(&config).map_or_else(|problem| report(&problem), |()| ExitCode::SUCCESS)
        }
        None => {
            host::heap::share();
            with_runtime(config)
        }
    }
}

/// Two threads: when one is held up by a look through /proc, the other still answers renewals.
fn with_runtime(config: config::Config) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime
        .map_err(|error| Problem::internal(format!("starting the runtime: {error}")))
        .and_then(|runtime| runtime.block_on(app::run(config)));
    outcome.map_or_else(|problem| report(&problem), |()| ExitCode::SUCCESS)
}

fn report(problem: &Problem) -> ExitCode {
    // Nowhere to print to is no reason for another exit code.
    let _ = writeln!(io::stderr(), "{}", text::lines(&format!("kitty-agent: {problem}")));
    problem.code.exit().into()
}
