//! The child programs: this very binary, executed again as `kitty-agent stress …`.
//!
//! A stressor is spawned blocked on a pipe, armed in the guard, moved into the target's cgroups, and only then
//! released. It ends when its pipe does (the agent is gone), when its own time is over, or killed by the guard.

pub mod board;
pub(crate) mod command;
mod cpu;
mod enter;
pub(crate) mod folder;
mod mapping;
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod place;
mod released;
pub(crate) mod room;
pub mod spawn;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use place::Place;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "stress";

/// A stressor that ends by itself gives the guard this much time to be the one that ends it.
const GRACE: Duration = Duration::from_millis(500);

/// Runs as a child program. `arguments` are those after `stress`. What it has to say goes to standard output
/// as lines, what goes wrong to standard error.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> =
        arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Shown by ps, and how agents know each other's children.
    let _ = rustix::thread::set_name(c"kitty-stress");
    let outcome = match arguments.as_slice() {
        ["memory", size] => size.parse().map_err(|_| usage()).and_then(memory::run),
        ["cpu", threads, load] => match (threads.parse(), load.parse()) {
            (Ok(threads), Ok(load)) => cpu::run(threads, load),
            _ => Err(usage()),
        },
        ["enter", place, name, rest @ ..] => {
            Place::parse(place).and_then(|place| enter::script(&place, name, rest))
        }
        ["inside", place, program, rest @ ..] => {
            Place::parse(place).and_then(|place| enter::program(&place, program, rest))
        }
        ["command", limit, place, argv @ ..] if !argv.is_empty() => {
            match (limit.parse(), Place::parse(place)) {
                (Ok(limit), Ok(place)) => command::run(Duration::from_millis(limit), &place, argv),
                _ => Err(usage()),
            }
        }
        _ => Err(usage()),
    };
    outcome.unwrap_or_else(|error| {
        spawn::tell_parent(&error);
        ExitCode::FAILURE
    })
}

fn usage() -> std::io::Error {
    std::io::Error::other("stress is for kitty-agent's own use")
}
