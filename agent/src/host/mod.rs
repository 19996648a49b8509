//! The host: processes, cgroups, commands. No decisions.

pub mod cgroup;
pub mod container;
pub(crate) mod heap;
pub mod membership;
pub mod own;
pub mod process;
pub mod rights;

/// Made anew by the kernel at each start of the host. Empty where /proc does not tell.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
