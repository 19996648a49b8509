//! The proof that every fault ends: whatever dies, hangs or is cut off, and whenever it does.
//!
//! A test binary of its own, because its cells are many, wait most of the time, and end in figures. `tests/run`
//! walks through the grid; `tests/run --long` adds random rounds.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: their names are their documentation, and a panic is how they fail"
)]

mod cell;
mod death;
mod figures;
mod grid;
mod host;
mod observer;
mod target;

use std::{process::ExitCode, sync::Arc, time::Instant};

use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;

use cell::Outcome;
use figures::Figures;
use grid::{Case, Found};
use host::Host;

/// Cells side by side: most of their time they wait.
const SIDE_BY_SIDE: usize = 16;

#[tokio::main]
async fn main() -> ExitCode {
    // As cargo test is given names of tests: those of parts, and of cells.
    let names: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    // Orphans come to us, so that none escapes the observer.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let grid: Vec<_> =
        grid::cases().into_iter().filter(|case| wanted(&format!("the grid: {}", case.name()))).collect();
    if grid.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("the grid: {} cells", grid.len());
    let begun = Instant::now();
    let host = Arc::new(Host::start(None).await);
    let mut figures = Figures::default();
    let mut cells =
        stream::iter(grid).map(|case| run(case, Arc::clone(&host))).buffer_unordered(SIDE_BY_SIDE);
    while let Some((name, outcome)) = cells.next().await {
        figures.take(name, outcome);
    }
    drop(cells);
    println!("{figures}in {:.0?}", begun.elapsed());
    target::clean_up();
    if figures.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs a cell on a thread of its own, for much of it is looking around; a panic is its failure.
async fn run(case: Case, host: Arc<Host>) -> (String, Outcome<Found>) {
    let runtime = Handle::current();
    let cell = tokio::task::spawn_blocking(move || runtime.block_on(case.run(host)));
    (case.name(), cell.await.unwrap_or_else(|_| Err("it panicked".to_owned())))
}
