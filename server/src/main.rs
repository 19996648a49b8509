//! kittyd: the control plane of ChaosKitty.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaos_kitty_server::main()
}
