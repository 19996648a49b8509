//! `kitty-guard`: spawned by `kitty-agent`, puts back whatever the agent injected. See the library.

use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    chaos_kitty_guard::abort_on_panic("kitty-guard");
    match chaos_kitty_guard::run::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let why = format!("kitty-guard: {error}; it is started by kitty-agent, not by hand\n");
            drop(io::stderr().write_all(why.as_bytes()));
            ExitCode::FAILURE
        }
    }
}
