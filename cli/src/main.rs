//! `kittyctl`: the operator's command line.

fn main() -> std::process::ExitCode {
    chaos_kitty_cli::run(std::env::args_os())
}
