//! The end-to-end tests, one module a story, in one binary.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: their names are their documentation, and a panic is how they fail"
)]

mod architecture;
mod cli;
mod compose;
mod docker;
mod docker_contained;
mod docker_suite;
mod evidence;
mod experiment;
mod experiment_cli;
mod experiment_crash;
mod full_disk;
mod guard;
mod halt;
mod hangup;
mod journal;
mod jvm;
mod legacy;
mod listeners;
mod manual;
mod operation;
mod panic;
mod places;
mod policy;
mod process;
mod python;
mod relay;
mod rest;
mod restart;
mod roster;
mod script;
mod silence;
mod startup;
mod stream;
mod systemd;
mod systemd_units;
mod telemetry;
mod tls;
mod words;
mod worker;
