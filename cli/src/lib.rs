//! `kittyctl`: the operator's command line, as a library.
//!
//! | module | what it holds |
//! |---|---|
//! | `args` | what can be typed, as types |
//! | `command` | one file per noun: arguments become requests, answers go to the output |
//! | `output` | the only place that prints |
//! | `session` | the connection to the server, and how long to wait for it |

mod args;
mod command;
mod failure;
mod output;
mod session;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{args::Args, output::Output};

/// Runs one command line, the program's name first, and answers with its exit code: 0 done, 1 refused or
/// failed, 2 wrong usage, 3 an awaited experiment ended FAILED, 4 not reachable, 6 a fault could not be put
/// back and waits for a person, 130 interrupted.
pub fn run<I, T>(arguments: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return output::usage(&error),
    };
    let out = Output::new(args.global.output);
    for sentence in args::variables_without_effect() {
        out.say(&format!("warning: {sentence}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command::run(args, &out)),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|failure| failure.tell(&out))
}
