//! What the benchmarks share. Each drives the real binaries and prints one table, with the limit or the peer
//! that was measured in the same run:
//!
//! ```text
//! cargo build --release --bins && cargo bench -p chaos-kitty-benches [--bench dispatch|idle|fidelity|revert|halt|experiment]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark ends with the place and the cause, and its output is its purpose"
)]

pub mod cpu;
pub mod figures;
pub mod herd;
pub mod mouse;
pub mod raw;
pub mod swarm;

use std::future::Future;

/// Whether this executable was started by `cargo bench`. `cargo test --all-targets` starts it too, to see that
/// it starts.
pub fn asked_for() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Whether this part is to run: all are, or those that are named, as in `cargo bench … --bench revert -- stop cut`.
pub fn wanted(part: &str) -> bool {
    let named: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    named.is_empty() || named.iter().any(|name| name == part)
}

/// Runs a benchmark to its end. One thread: it shares the machine with what it measures.
pub fn run(benchmark: impl Future<Output = ()>) {
    if asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(benchmark);
    }
}
