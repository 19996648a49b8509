//! kittyd, the control plane: keeps the fleet, admits and orders faults, answers gRPC and REST.
//!
//! Upper modules may call lower ones, never the other way:
//! `listen`, `api` → `operation` → `action` → `safety` → `fleet` → `event` → `store`.

pub mod api;
pub mod listen;
pub mod operation;
pub mod store;
