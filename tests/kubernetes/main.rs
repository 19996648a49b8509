//! Pods of a real cluster as targets: `tests/run --kubernetes`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails with the place and the cause"
)]

mod actions;
mod bed;
mod contained;
mod experiments;
