//! Processes: their trees, and their ends.

use std::{collections::HashMap, fs, io, os::fd::AsFd};

pub use chaos_kitty_guard::process::{Process, Stat};
use rustix::process::Signal;
use tokio::io::{Interest, unix::AsyncFd};

use super::rights;

/// A process and all its descendants, parents first. Empty: it is gone.
pub fn tree(root: Process) -> Vec<Process> {
    if !root.exists() {
        return Vec::new();
    }
    let mut scan = None;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        let children = children(process.pid).unwrap_or_else(|| {
            scan.get_or_insert_with(parents).get(&process.pid).cloned().unwrap_or_default()
        });
        found.extend(children.into_iter().filter_map(Process::now));
    }
    found
}

/// Pids of the children of a process, by all of its threads. `None`: it is gone, or the kernel does not tell
/// (CONFIG_PROC_CHILDREN). What it tells is whole once the process stands still.
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let children = fs::read_to_string(thread.path().join("children")).ok()?;
        found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Some(found)
}

/// The children of every process, by a walk over /proc.
fn parents() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids() {
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    children
}

/// Whether a process stands still: stopped, or hanging in the kernel with the stop pending, so that it executes
/// nothing before it stops. The parent of a vfork does so for as long as its stopped child has not called exec.
pub fn stands_still(process: &Process) -> bool {
    match process.stat().map(|stat| stat.state) {
        Some('T' | 't') => true,
        Some('D') => stop_is_pending(process.pid),
        _ => false,
    }
}

/// By the masks of pending signals in `/proc/PID/status`.
fn stop_is_pending(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let masks =
        status.lines().filter_map(|line| line.strip_prefix("ShdPnd:").or(line.strip_prefix("SigPnd:")));
    let stop = 1u64 << (Signal::STOP.as_raw() - 1);
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & stop != 0)
}

/// Whether a signal does nothing to a process: it ignores it, or it is the first of its pid namespace, for which the
/// kernel drops whatever it has no handler for, but SIGKILL.
pub fn ignores(process: Process, signal: Signal) -> bool {
    let bit = 1u64 << (signal.as_raw() - 1);
    let has = |mask: &str| rights::mask(process.pid, mask).is_some_and(|mask| mask & bit != 0);
    has("SigIgn:") || (signal != Signal::KILL && is_first_of_a_namespace(process.pid) && !has("SigCgt:"))
}

/// By its pids in its own namespace and those above it: more than one, and the innermost is 1.
fn is_first_of_a_namespace(pid: u32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<_> = pids.split_ascii_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

/// The kernel's name of a process, at most 15 bytes (`/proc/PID/comm`). Empty: it is gone.
pub fn name(pid: u32) -> String {
    let mut name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.truncate(name.trim_end().len());
    name
}

/// Every pid that /proc shows.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Waits until a process has ended; a zombie has.
///
/// # Errors
/// It can not be watched, e.g. out of descriptors.
#[expect(deprecated, reason = "a BorrowedFd keeps the promise that the unsafe successor asks for")]
pub async fn ended(process: Process) -> io::Result<()> {
    match process.open()? {
        None => Ok(()),
        Some(descriptor) => {
            AsyncFd::with_interest(descriptor.as_fd(), Interest::READABLE)?.readable().await.map(drop)
        }
    }
}
