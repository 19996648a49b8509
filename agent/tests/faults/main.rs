//! The faults on real targets, with the real stressor and the real undo code: what the executor does with the
//! guard is done here by hand, step by step. Needs root and a writable cgroup hierarchy.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: their names are their documentation, and a panic is how they fail"
)]

mod cgroup;
mod cpu;
mod driver;
mod included;
mod jvm;
mod memory;
mod script;
mod step;
mod together;
