//! kittyd, the control plane: keeps the fleet, admits and orders faults, answers gRPC and REST.
//!
//! Upper modules may call lower ones, never the other way:
//! `api` → `schedule` → `experiment`, `operation` → `action` → `safety` → `fleet` → `event`, `store`, `listen`.
//! `app` puts them together; `program` is kittyd from its command line to its exit code.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test's own tasks may panic: it fails then"))]

pub mod action;
pub mod api;
pub mod app;
pub mod config;
pub mod event;
pub mod experiment;
pub mod fleet;
#[cfg(any(test, fuzzing))]
#[allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a server that does not start has nothing to be fed"
)]
pub mod fuzz;
// The very same as the guard's, which the server does not depend on.
#[path = "../../guard/src/hooks.rs"]
pub mod hooks;
pub mod listen;
pub mod operation;
mod program;
pub mod safety;
pub mod schedule;
pub mod store;
mod task;

pub use program::main;

#[cfg(test)]
mod tests;
