//! The SDK against a peer that is scripted by each test, over a real Unix socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod actions;
mod attach;
mod faults;
mod outage;
mod peer;
mod points;

use chaos_kitty_worker::{Builder, Points, Worker};

/// A worker with points of its own, for many tests share this process.
fn worker(name: &str) -> (Builder, Points) {
    let points = Points::separate();
    (Worker::builder(name).group("tests").points(&points), points)
}
