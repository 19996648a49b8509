//! Processes that no fault may land on: PID 1, the kitty's own, sshd, and the container runtimes. Pure.

use chaos_kitty::{Code, Problem};

/// By the kernel's name of a process (`/proc/PID/comm`, at most 15 bytes).
const NAMES: &[&str] = &[
    "systemd",
    "kittyd",
    "kitty-agent",
    "kitty-guard",
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dockerd",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "crio",
    "conmon",
    "podman",
    "kubelet",
    "runc",
];

/// The kernel cuts names after this many bytes.
const COMM_BYTES: usize = 15;

/// Why a process may not be touched. `own` are the agent's and its guard's pids.
pub(super) fn check(pid: u32, comm: &str, own: &[u32]) -> Result<(), Problem> {
    let named = || NAMES.iter().any(|name| comm == &name[..name.len().min(COMM_BYTES)]);
    let what = match pid {
        1 => "PID 1".to_owned(),
        _ if own.contains(&pid) => format!("the agent's own process {pid}"),
        _ if named() => format!("process {pid} ({comm})"),
        _ => return Ok(()),
    };
    Err(Problem::new(Code::Protected, format!("{what} is protected, so nothing was done"))
        .hint("choose another target; a tree counts with all its processes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_1_the_kitty_sshd_and_container_runtimes_are_protected() {
        for (pid, comm) in [(1, "init"), (7, "x"), (20, "sshd"), (21, "kittyd"), (22, "containerd-shim")] {
            assert_eq!(check(pid, comm, &[7, 8]).unwrap_err().code, Code::Protected, "{comm}");
        }
    }

    #[test]
    fn others_are_not() {
        for (pid, comm) in [(9, "nginx"), (10, "sshd-like"), (11, "")] {
            check(pid, comm, &[7, 8]).unwrap();
        }
    }
}
