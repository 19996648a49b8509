//! The host: processes, cgroups, commands. No decisions.

use std::{fmt, io};

use chaos_kitty::{Code, Problem};

pub mod cgroup;
pub mod container;
pub(crate) mod heap;
pub mod membership;
pub mod own;
pub mod process;
pub mod rights;

/// Why something of a process or cgroup could not be read: it is gone, or it may be there and cannot be looked at.
pub fn unseen(what: impl fmt::Display, error: io::Error) -> Problem {
    let message = format!("{what}: {error}");
    match chaos_kitty_guard::process::there::<()>(Err(error)) {
        Ok(_) => Problem::new(Code::TargetGone, message),
        Err(_) => Problem::new(Code::CannotLook, message)
            .hint("run the agent as a user that may look into it (root sees all); kitty-agent check says what is missing"),
    }
}

/// Made anew by the kernel at each start of the host. Empty where /proc does not tell.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
