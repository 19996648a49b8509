//! The host: processes, cgroups, commands. No decisions.

pub mod process;
