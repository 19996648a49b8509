//! How much memory this process can still take before something is killed for it.

use std::{ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, path::Path};

use chaos_kitty::procfs::{kilobytes, lines};
use rustix::process::{Resource, getrlimit};

/// Left to the application, so that the fault does not turn its next small allocation into its end.
const RESERVE: u64 = 64 << 20;

/// What bounds the memory of this process, and how much is left below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes, after a reserve for the application.
    pub(crate) bytes: u64,
    /// Which limit that is, for people.
    pub(crate) of: String,
}

/// The tightest of the machine's memory, the cgroups above this process, and RLIMIT_AS.
///
/// # Errors
/// /proc cannot be read, which does not say that there is no limit.
pub(crate) fn room() -> io::Result<Room> {
    let status = fs::read("/proc/self/status")?;
    let address_space = getrlimit(Resource::As).current.map(|limit| Room {
        bytes: limit.saturating_sub(kilobytes(&status, "VmSize").unwrap_or_default()),
        of: format!("the address space limit of {limit} bytes"),
    });
    let meminfo = fs::read("/proc/meminfo")?;
    let machine = kilobytes(&meminfo, "MemAvailable")
        .map(|bytes| Room { bytes, of: "the machine's available memory".to_owned() });
    let groups = fs::read("/proc/self/cgroup")?;
    let tightest = [address_space, machine]
        .into_iter()
        .flatten()
        .chain(lines(&groups).flat_map(cgroup_rooms))
        .min_by_key(|room| room.bytes);
    let mut room = tightest.unwrap_or(Room { bytes: u64::MAX, of: "no known limit".to_owned() });
    room.bytes = room.bytes.saturating_sub(RESERVE);
    Ok(room)
}

/// The limits on the way from one line of /proc/self/cgroup up to the root of its hierarchy.
fn cgroup_rooms(line: &[u8]) -> Vec<Room> {
    let mut parts = line.splitn(3, |byte| *byte == b':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, limit, usage) = match controllers {
        b"" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
        b"memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
        _ => return Vec::new(),
    };
    let root = Path::new(root);
    let own = root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
    let read = |folder: &Path, file| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    own.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            let limit = read(folder, limit)?;
            let bytes = limit.saturating_sub(read(folder, usage)?);
            Some(Room { bytes, of: format!("the limit of {limit} bytes of {}", folder.display()) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_room_and_less_than_the_machine_has() {
        let meminfo = fs::read("/proc/meminfo").unwrap();
        let room = room().unwrap();
        assert!(room.bytes > 0 && room.bytes < kilobytes(&meminfo, "MemTotal").unwrap(), "{room:?}");
    }

    #[test]
    fn a_line_that_is_not_of_a_memory_hierarchy_bounds_nothing() {
        for line in ["", "x", "4:cpu,cpuacct:/a", "1:memory"] {
            assert_eq!(cgroup_rooms(line.as_bytes()), []);
        }
    }
}
