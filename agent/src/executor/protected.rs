//! Processes that no fault may land on: PID 1, the kitty's own, sshd, and the container runtimes.

use chaos_kitty::{Code, Problem};

use crate::host::{self, process};

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

/// Whether a process may be touched. `own` are the agent's and its guard's pids.
///
/// # Errors
/// Why not; also where its name cannot be read.
pub(super) fn check(pid: u32, own: &[u32]) -> Result<(), Problem> {
    let comm =
        process::name(pid).map_err(|error| host::unseen(format_args!("the name of process {pid}"), error))?;
    comm.map_or(Ok(()), |comm| check_name(pid, &comm, own))
}

fn check_name(pid: u32, comm: &[u8], own: &[u32]) -> Result<(), Problem> {
    let named = || NAMES.iter().any(|name| *comm == name.as_bytes()[..name.len().min(COMM_BYTES)]);
    let what = match pid {
        1 => "PID 1".to_owned(),
        _ if own.contains(&pid) => format!("the agent's own process {pid}"),
        _ if named() => format!("process {pid} ({})", String::from_utf8_lossy(comm)),
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
            assert_eq!(
                check_name(pid, comm.as_bytes(), &[7, 8]).unwrap_err().code,
                Code::Protected,
                "{comm}"
            );
        }
    }

    #[test]
    fn others_are_not() {
        for (pid, comm) in [(9, "nginx"), (10, "sshd-like"), (11, "")] {
            check_name(pid, comm.as_bytes(), &[7, 8]).unwrap();
        }
    }
}
