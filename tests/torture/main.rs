//! The proof that every fault ends: whatever dies, hangs or is cut off, and whenever it does.
//!
//! A test binary of its own, because its cells are many, wait most of the time, and end in figures. `tests/run
//! torture` walks through the whole grid.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: their names are their documentation, and a panic is how they fail"
)]

mod cell;
mod choice;
mod death;
mod figures;
mod grid;
mod ground;
mod guarantees;
mod host;
mod observer;
mod order;
mod program;
mod rounds;
mod target;

use std::{process::ExitCode, time::Instant};

use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;

use cell::Outcome;
use figures::{Figures, Found};
use grid::{Case, Shared};

/// Cells side by side: most of their time they wait.
const SIDE_BY_SIDE: usize = 32;

#[tokio::main]
async fn main() -> ExitCode {
    // As cargo test is given names of tests: those of parts, and of cells.
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_long = arguments.iter().any(|argument| argument == "--long");
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let begun = Instant::now();
    let mut figures = Figures::default();
    if is_long {
        rounds::run(&mut figures).await;
    } else {
        // What takes longest comes first.
        let all = guarantees::cases().into_iter().chain(grid::cases());
        let cases: Vec<_> = all.filter(|case| wanted(&format!("torture: {}", case.name()))).collect();
        if cases.is_empty() {
            return ExitCode::SUCCESS;
        }
        walk(cases, &mut figures).await;
    }
    println!("{figures}in {:.0?}", begun.elapsed());
    ground::clean_up();
    if figures.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Walks through these cells.
async fn walk(cases: Vec<Case>, figures: &mut Figures) {
    println!("{} cells", cases.len());
    let shared = Shared::start().await;
    let mut cells = stream::iter(cases).map(|case| run(case, shared.clone())).buffer_unordered(SIDE_BY_SIDE);
    while let Some((case, outcome)) = cells.next().await {
        match case.without {
            None => figures.take(&case.name(), outcome),
            Some(_) => figures.take_proof(&case.name(), guarantees::judge(outcome)),
        }
    }
}

/// Runs a cell on a thread of its own, for much of it is looking around; a panic is its failure.
async fn run(case: Case, shared: Shared) -> (Case, Outcome<Found>) {
    let runtime = Handle::current();
    let cell = tokio::task::spawn_blocking(move || runtime.block_on(case.run(shared)));
    (case, cell.await.unwrap_or_else(|_| Err("it panicked".to_owned())))
}
