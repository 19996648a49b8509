//! What a target has of its own, and what it shares with its host.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use chaos_kitty::script::Own;
use chaos_kitty_guard::Process;
use rustix::fs::{
    CWD, Mode, OFlags, ResolveFlags, StatVfs, StatVfsMountFlags, fstat, fstatvfs, openat, openat2,
};

use super::membership;

/// Where a host's own file systems are looked for. What else is mounted there may belong to a target.
const HOSTS: [&str; 11] =
    ["", "var", "var/tmp", "var/lib", "tmp", "home", "run", "usr", "opt", "srv", "root"];

/// Where a script that takes the disk writes: the first that can be written.
const TEMPORARY: [&str; 2] = ["var/tmp", "tmp"];

/// What of these a target has of its own, by its main process. `None`: it is the host, and nothing is its own.
pub fn of(target: Option<Process>) -> BTreeSet<Own> {
    Own::ALL.into_iter().filter(|own| has(target, *own).unwrap_or(false)).collect()
}

/// Whether a target has it of its own.
///
/// # Errors
/// It cannot be looked at.
pub fn has(target: Option<Process>, own: Own) -> io::Result<bool> {
    let Some(Process { pid, .. }) = target else { return Ok(false) };
    match own {
        Own::MemoryLimit => Ok(is_below(membership::memory_limit(&membership::of(pid)?), host_memory()?)),
        Own::ProcessLimit => {
            Ok(is_below(membership::process_limit(&membership::of(pid)?), host_processes()?))
        }
        Own::Disk => disk(pid),
        Own::Network => is_apart(pid, "net"),
        Own::Mounts => Ok(is_apart(pid, "mnt")? && !spreads(&read(&format!("/proc/{pid}/mountinfo"))?)),
    }
}

/// A limit that is not below what the host has is never reached: the host's own comes first.
fn is_below(limit: Option<u64>, hosts: u64) -> bool {
    limit.is_some_and(|limit| limit < hosts)
}

/// Bytes.
fn host_memory() -> io::Result<u64> {
    let text = read("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let kilobytes: Option<u64> = total.and_then(|number| number.parse().ok());
    Ok(kilobytes.unwrap_or_default().saturating_mul(1024))
}

/// Processes and threads that the host has room for.
fn host_processes() -> io::Result<u64> {
    let number = |file: &str| Ok::<u64, io::Error>(read(file)?.trim().parse().unwrap_or(u64::MAX));
    Ok(number("/proc/sys/kernel/pid_max")?.min(number("/proc/sys/kernel/threads-max")?))
}

/// Neither the agent's namespace nor the host's: the agent may have one of its own.
fn is_apart(pid: u32, namespace: &str) -> io::Result<bool> {
    let theirs = fs::read_link(format!("/proc/{pid}/ns/{namespace}"))?;
    let ours = fs::read_link(format!("/proc/self/ns/{namespace}"))?;
    // Only root may read it. Then the agent's own is the host's, as far as can be told.
    let hosts = fs::read_link(format!("/proc/1/ns/{namespace}")).ok();
    Ok(theirs != ours && Some(theirs) != hosts)
}

/// Whether what is mounted over a device there would appear elsewhere too (mountinfo, proc(5)).
fn spreads(mountinfo: &str) -> bool {
    let mut shared = false;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(_), Some(option)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if matches!(point, "/" | "/dev" | "/dev/random") {
            shared = option.starts_with("shared:");
        }
    }
    shared
}

/// Whether the disk that it writes to is none of the host's.
fn disk(pid: u32) -> io::Result<bool> {
    let theirs = root(&format!("/proc/{pid}/root"))?;
    // The agent may have a root of its own. Only root may look into the host's.
    let ours = root("/proc/1/root").or_else(|_| root("/"))?;
    let hosts: Vec<_> = HOSTS.iter().filter_map(|folder| Disk::of(&ours, folder)).collect();
    let written = TEMPORARY.iter().filter_map(|folder| Disk::of(&theirs, folder)).find(Disk::is_writable);
    Ok(written.is_some_and(|disk| disk.ends() && !hosts.iter().any(|hosts| disk.is_same(hosts))))
}

fn root(path: &str) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The file system of a folder.
struct Disk {
    device: u64,
    facts: StatVfs,
}

impl Disk {
    /// `None`: there is no such folder. Links are followed as the root's own processes follow them.
    fn of(root: &OwnedFd, folder: &str) -> Option<Self> {
        let folder = Path::new(if folder.is_empty() { "." } else { folder });
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat2(root.as_fd(), folder, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
        Some(Self { device: fstat(&opened).ok()?.st_dev, facts: fstatvfs(&opened).ok()? })
    }

    const fn is_writable(&self) -> bool {
        !self.facts.f_flag.contains(StatVfsMountFlags::RDONLY)
    }

    /// It has a size. What is kept in memory may have none.
    const fn ends(&self) -> bool {
        self.facts.f_blocks > 0
    }

    /// Of one device, or of one size: the layers of a container and the subvolumes of a disk have devices of their own,
    /// and the room of the disk that they are on.
    const fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.facts, &other.facts);
        self.device == other.device
            || one.f_blocks == two.f_blocks && one.f_frsize == two.f_frsize && one.f_files == two.f_files
    }
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_process_and_the_host_have_no_disk_or_network_of_their_own() {
        let here = Process::now(std::process::id());
        for target in [here, None] {
            for own in [Own::Disk, Own::Network, Own::Mounts] {
                assert!(!has(target, own).unwrap(), "{own:?} of {target:?}");
            }
        }
        assert!(of(None).is_empty());
    }

    #[test]
    fn a_limit_that_is_not_below_the_hosts_is_none() {
        assert_eq!([Some(9), Some(10), None].map(|limit| is_below(limit, 10)), [true, false, false]);
        assert!(host_memory().unwrap() > 1 << 20 && host_processes().unwrap() > 100);
    }

    #[test]
    fn a_mount_that_is_shared_spreads_unless_a_private_one_is_over_it() {
        let root = "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n";
        let private = "2 1 0:5 / /dev rw - tmpfs none rw\n";
        assert!(spreads(root) && !spreads(&format!("{root}{private}")) && !spreads(""));
    }
}
