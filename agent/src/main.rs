//! kitty-agent: carries faults out on the targets of its host.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaos_kitty_agent::main()
}
