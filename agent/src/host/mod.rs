//! The host: processes, cgroups, commands. No decisions.

pub mod cgroup;
pub mod membership;
pub mod process;
