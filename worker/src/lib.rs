//! The worker SDK: makes a service a target of ChaosKitty.
//!
//! ```no_run
//! use chaos_kitty_worker::{Worker, inject};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = Worker::builder("billing").group("billing").label("tier", "web").connect()?;
//! inject("db")?; // fails or waits here while a fault says so, else costs one relaxed atomic load
//! # drop(worker); Ok(()) }
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | [`Worker`], [`Builder`] | attaches the process; dropping it detaches and ends every fault |
//! | [`inject`], [`inject_async`], [`Points`] | the points where `error` and `delay` reach calls |
//! | [`ChaosLayer`] | the same for the requests of a `tower` service |
//! | [`Client`] | the way round: status of the control plane, faults on other targets |
//!
//! The stream to the server lives on a thread of its own: a delay that blocks the application's executor
//! or a spin that burns its processors does not silence it. Every fault checks its own deadline and the
//! worker's lease at each step, so that none needs another thread to end it.

mod action;
mod authority;
mod builder;
mod calls;
mod client;
mod control;
mod faults;
mod hold;
mod hooks;
mod layer;
mod memory_limit;
mod order;
mod point;
mod procfs;
mod run;
mod sys;
mod worker;

pub use action::gc::GcFigures;
pub use builder::Builder;
pub use chaos_kitty::{Code, Problem, client::TlsFiles, endpoint::Endpoint, v1};
pub use client::{Client, Updates};
pub use control::State;
pub use layer::{Answer, ChaosFuture, ChaosLayer, ChaosService, InternalServerError};
pub use point::{Injected, Points, inject, inject_async};
pub use worker::Worker;
