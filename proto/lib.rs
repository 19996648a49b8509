//! The contract of ChaosKitty as a crate: what every program needs to speak the service `Chaos`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`v1`] | the generated messages, client and server, with the canonical JSON mapping |
//! | [`problem`] | numbered errors, and their one mapping to gRPC, HTTP and exit codes |
//! | [`endpoint`] | addresses: `unix:PATH`, `http://…`, `https://…`, and where to look for them |
//! | [`client`] | dialling an endpoint: transport, TLS, deadlines |
//! | [`backoff`] | how long to wait before trying again |
//! | [`ending`] | the signals that end a program, or have it read its files again |
//! | [`socket`] | listening on a Unix socket |
//! | [`trust`], [`nss`] | whose a socket, folder or file is; users and groups of the host |
//! | [`peer`] | who is at the other end of a Unix socket |
//! | [`procfs`] | reading /proc, whose names may hold any byte |
//! | [`hello`] | what a Hello must be, for whoever accepts one |
//! | [`json`] | messages in proto JSON as people write them |
//! | [`lease`], [`outbox`] | a node's side of the stream, shared by agent and worker |
//! | [`page`] | lists in answers: pages by bytes, and entries that cannot be shown |
//! | [`script`] | scripts: their headers and hashes |
//! | [`signal`] | signals by name or number |
//! | `settings`, `telemetry`, `notify` | layered settings, logs and traces, the service manager; with the feature `program` |
//! | [`text`] | decoding documents, and text that does not steer a terminal |
//! | [`units`] | durations and sizes as people write them |
//! | [`hours`] | days of the week and hours of a day as people write them |
//! | [`bounds`] | how long, how many, how far: every field of the contract |
//! | [`variables`] | variables of the environment that look like settings and are none |
//! | [`limits`] | sizes and times that both ends of the contract must agree on |
//!
//! Nothing here depends on the programs; they depend on this, never on each other.

mod action;
pub mod backoff;
pub mod bounds;
pub mod client;
pub mod codec;
pub mod ending;
pub mod endpoint;
pub mod hello;
pub mod hours;
pub mod json;
mod later;
pub mod lease;
pub mod limits;
#[cfg(feature = "program")]
pub mod notify;
pub mod nss;
pub mod outbox;
pub mod page;
pub mod peer;
pub mod problem;
pub mod procfs;
pub mod script;
#[cfg(feature = "program")]
pub mod settings;
pub mod signal;
pub mod socket;
#[cfg(feature = "program")]
pub mod telemetry;
pub mod text;
mod timestamp;
pub mod trust;
pub mod units;
pub mod variables;

pub use later::Later;
pub use problem::{Code, Problem};
pub use timestamp::Timestamp;

/// The generated contract, package `chaoskitty.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the .proto files hold the documentation"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/chaoskitty.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/chaoskitty.v1.serde.rs"));
}

/// The compiled schema (a `google.protobuf.FileDescriptorSet`), for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/chaoskitty.fds"));
