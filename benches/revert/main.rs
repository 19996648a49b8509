//! How soon faults end, whatever dies: the agent alone (by its guard, idle and with four busy processes a core), an agent
//! that is stopped, agent and guard together (by the next start), a connection that is cut before one, two and three
//! hops. Seen from the target: it runs again (SIGCONT, thaw), the stressor is gone. Memory is given back page by page,
//! and so told apart. And what the guard costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

mod cut;
mod held;
mod kill;
mod start;
mod stop;
mod target;
mod watch;

use std::time::Duration;

use chaos_kitty_benches::{
    figures::{ms, quantile, table},
    run, wanted,
};

/// One line of a table: what, on which machine or way, and p50, p99 and worst in milliseconds.
type Row = [String; 5];

fn main() {
    run(async {
        if wanted("kill") {
            kill::measure().await;
        }
        if wanted("stop") {
            stop::measure().await;
        }
        if wanted("start") {
            start::measure().await;
        }
        if wanted("cut") {
            cut::measure().await;
        }
    });
}

fn row(what: &str, circumstance: &str, took: &[Duration]) -> Row {
    let at = |share| ms(quantile(took, share));
    [what.to_owned(), circumstance.to_owned(), at(0.5), at(0.99), at(1.0)]
}

fn print(title: &str, circumstance: &str, rows: &[Row]) {
    table(title, ["fault", circumstance, "p50", "p99", "worst"], rows);
}
