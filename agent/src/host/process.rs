//! Processes: their trees, and their ends.

use std::{collections::HashMap, fs, io, os::fd::AsFd};

use chaos_kitty::procfs::field;
use chaos_kitty_guard::process::there;
pub use chaos_kitty_guard::process::{Process, Stat};
use rustix::process::Signal;
use tokio::io::{Interest, unix::AsyncFd};

use super::rights;

/// A process and all its descendants, parents first. Empty: it is gone.
///
/// # Errors
/// One of them is there and cannot be looked at, so that the tree would not be whole.
pub fn tree(root: Process) -> io::Result<Vec<Process>> {
    if root.look()?.is_none() {
        return Ok(Vec::new());
    }
    let mut scan = None;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        next += 1;
        let children = match children(process.pid)? {
            Some(children) => children,
            None => {
                if scan.is_none() {
                    scan = Some(parents()?);
                }
                scan.as_ref().and_then(|scan| scan.get(&process.pid)).cloned().unwrap_or_default()
            }
        };
        for child in children {
            found.extend(Process::find(child)?);
        }
    }
    Ok(found)
}

/// Pids of the children of a process, by all of its threads. `None`: it is gone, or the kernel does not tell
/// (CONFIG_PROC_CHILDREN). What it tells is whole once the process stands still.
fn children(pid: u32) -> io::Result<Option<Vec<u32>>> {
    let Some(threads) = there(fs::read_dir(format!("/proc/{pid}/task")))? else { return Ok(None) };
    let mut found = Vec::new();
    for thread in threads {
        let Some(thread) = there(thread)? else { return Ok(None) };
        let Some(children) = there(fs::read_to_string(thread.path().join("children")))? else {
            return Ok(None);
        };
        for child in children.split_ascii_whitespace() {
            found.push(child.parse().map_err(io::Error::other)?);
        }
    }
    Ok(Some(found))
}

/// The children of every process, by a walk over /proc.
fn parents() -> io::Result<HashMap<u32, Vec<u32>>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in pids()? {
        if let Some(stat) = Stat::read(pid)? {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    Ok(children)
}

/// Whether a process stands still: stopped, or hanging in the kernel with the stop pending, so that it executes
/// nothing before it stops. The parent of a vfork does so for as long as its stopped child has not called exec.
/// False: it runs, or is gone.
///
/// # Errors
/// It is there and cannot be looked at.
pub fn stands_still(process: &Process) -> io::Result<bool> {
    Ok(match process.look()?.map(|stat| stat.state) {
        Some('T' | 't') => true,
        Some('D') => stop_is_pending(process.pid)?,
        _ => false,
    })
}

/// By the masks of pending signals in `/proc/PID/status`.
fn stop_is_pending(pid: u32) -> io::Result<bool> {
    let status = there(fs::read(format!("/proc/{pid}/status")))?.unwrap_or_default();
    let stop = 1u64 << (Signal::STOP.as_raw() - 1);
    let masks = ["ShdPnd", "SigPnd"].into_iter().filter_map(|name| field(&status, name));
    Ok(masks.filter_map(|mask| u64::from_str_radix(mask, 16).ok()).any(|mask| mask & stop != 0))
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
    let pids: Vec<_> = field(&status, "NSpid").unwrap_or_default().split_ascii_whitespace().collect();
    pids.len() > 1 && pids.last() == Some(&"1")
}

/// The kernel's name of a process, at most 15 bytes of any value but 0 (`/proc/PID/comm`). `None`: it is gone.
///
/// # Errors
/// It is there and cannot be looked at.
pub fn name(pid: u32) -> io::Result<Option<Vec<u8>>> {
    let name = there(fs::read(format!("/proc/{pid}/comm")))?;
    // The kernel's own line end; a name may end with more of them.
    Ok(name.map(|name| name.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(name)))
}

/// Every pid that /proc shows.
///
/// # Errors
/// /proc cannot be listed.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(found)
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
