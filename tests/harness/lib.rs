//! The harness of the end-to-end tests: real binaries in a temporary folder, found beside the test's own
//! executable, ended when the test ends.
//!
//! ```no_run
//! # async fn story() {
//! use chaos_kitty_tests::Sandbox;
//! let sandbox = Sandbox::new();
//! let server = sandbox.server(&[]).await;
//! let shop = sandbox.shop("till", &server.address()).await;
//! let done = sandbox.kittyctl(&server.address(), &["unleash", "delay", "--target", "till", "--duration", "1s"]);
//! assert_eq!(done.code, 0, "{done}");
//! # drop(shop); }
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a harness fails the test that uses it, with the place and the cause"
)]

mod agent;
pub mod booted;
pub mod docker;
pub mod http;
pub mod manual;
pub mod process;
pub mod proxy;
mod sandbox;
mod server;
mod shop;
pub mod simulated;
pub mod wait;

pub use agent::Agent;
pub use sandbox::{Finished, Sandbox, built};
pub use server::Server;
pub use shop::Shop;
pub use wait::{eventually, patience};
