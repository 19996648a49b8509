//! kitty-agent as a library: carries faults out on the targets of its host.
//!
//! `uplink` (stream, relay, lease) → `executor` (admission, order of steps) → `action` (what) → `platform`
//! (where) → `host` (processes, cgroups). None of them calls upwards.

pub mod action;
pub mod executor;
pub mod host;
pub mod platform;
