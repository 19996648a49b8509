//! The host: processes, cgroups, commands. No decisions.

pub mod membership;
pub mod process;
