//! Which cgroup a process is in, on every hierarchy, and the limits from there upwards.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use chaos_kitty::procfs::lines;
use chaos_kitty_guard::process::there;
use rustix::io::Errno;

pub use chaos_kitty_guard::undo::CgroupVersion;

/// A process's cgroup on one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Of the hierarchy.
    pub version: CgroupVersion,
    /// Version 1: what the hierarchy controls, or `name=…` for one that controls nothing. Version 2: empty.
    pub controllers: Vec<String>,
    /// The cgroup's folder.
    pub folder: PathBuf,
    /// Where the hierarchy is mounted: the uppermost folder that can be seen.
    pub root: PathBuf,
}

impl Membership {
    /// Whether the hierarchy has that controller; on version 2, whether the cgroup has it.
    pub fn controls(&self, controller: &str) -> bool {
        match self.version {
            CgroupVersion::V1 => self.controllers.iter().any(|one| one == controller),
            CgroupVersion::V2 => fs::read_to_string(self.folder.join("cgroup.controllers"))
                .is_ok_and(|all| all.split_whitespace().any(|one| one == controller)),
        }
    }

    /// The cgroup and those above it, up to the root.
    pub fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.folder.ancestors().take_while(|folder| folder.starts_with(&self.root))
    }
}

/// The cgroups of a process, one for each mounted hierarchy.
///
/// # Errors
/// The process is gone, or /proc can not be read.
pub fn of(pid: u32) -> io::Result<Vec<Membership>> {
    let cgroups = fs::read(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs::read("/proc/self/mountinfo").map_err(io::Error::other)?;
    Ok(parse(&cgroups, &mounts))
}

/// The name of the uppermost cgroup that a process is in or below, of those that fit, on any hierarchy. Unlike
/// [`of`] it also sees what is not mounted here. `None`: in none of them, or the process is gone.
///
/// # Errors
/// It is there and cannot be looked at.
pub fn name_of(pid: u32, fits: impl Fn(&str) -> bool) -> io::Result<Option<String>> {
    let text = there(fs::read(format!("/proc/{pid}/cgroup")))?.unwrap_or_default();
    let paths = lines(&text).filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2));
    let mut names = paths.flat_map(|path| path.split(|byte| *byte == b'/'));
    // A name of other bytes is none that anybody asks for.
    Ok(names.find_map(|name| str::from_utf8(name).ok().filter(|name| fits(name)).map(str::to_owned)))
}

/// See cgroups(7) for `/proc/PID/cgroup` and proc(5) for mountinfo.
fn parse(cgroups: &[u8], mounts: &[u8]) -> Vec<Membership> {
    let mounts: Vec<Mount> = lines(mounts).filter_map(Mount::parse).collect();
    let lines = lines(cgroups).filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        Some((str::from_utf8(fields.next()?).ok()?, Path::new(OsStr::from_bytes(fields.next()?))))
    });
    lines
        .filter_map(|(controllers, path)| {
            let controllers: Vec<String> =
                controllers.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
            let version = if controllers.is_empty() { CgroupVersion::V2 } else { CgroupVersion::V1 };
            let mount = mounts.iter().find(|mount| mount.version == version && mount.has(&controllers))?;
            // A path that leads out of what is mounted can not be seen from here.
            let below = path.strip_prefix(&mount.shows).ok()?;
            let folder = mount.at.join(below);
            Some(Membership { version, controllers, folder, root: mount.at.clone() })
        })
        .collect()
}

struct Mount {
    version: CgroupVersion,
    /// The folder of the hierarchy that is mounted.
    shows: PathBuf,
    at: PathBuf,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        let (shows, at) = (path(fields.next()?), path(fields.next()?));
        let mut kind = fields.skip_while(|field| *field != b"-").skip(1);
        let version = match kind.next()? {
            b"cgroup" => CgroupVersion::V1,
            b"cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        let options = str::from_utf8(kind.nth(1)?).ok()?.split(',').map(str::to_owned).collect();
        Some(Self { version, shows, at, options })
    }

    fn has(&self, controllers: &[String]) -> bool {
        controllers.iter().all(|controller| self.options.contains(controller))
    }
}

/// Of mountinfo, where a blank, a line end and the like are written as `\` and three octal digits.
pub(crate) fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let digits = more.get(..3).filter(|_| *first == b'\\').and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = byte.map_or(more, |_| &more[3..]);
    }
    OsString::from_vec(bytes).into()
}

/// Cores of processor time that a process may use by the quotas of its cgroup and all above. `None`: no quota.
///
/// # Errors
/// One of them is there and cannot be read.
pub fn cpu_quota(memberships: &[Membership]) -> io::Result<Option<f64>> {
    let mut tightest = None;
    for membership in with("cpu", memberships) {
        for folder in membership.upwards() {
            let quota = match membership.version {
                CgroupVersion::V1 => number(folder, "cpu.cfs_quota_us")?
                    .filter(|quota| *quota > 0.0)
                    .zip(number(folder, "cpu.cfs_period_us")?)
                    .map(|(quota, period)| quota / period),
                CgroupVersion::V2 => text(folder, "cpu.max")?.and_then(|text| parse_cpu_max(&text)),
            };
            tightest = tightest.into_iter().chain(quota).min_by(f64::total_cmp);
        }
    }
    Ok(tightest)
}

/// Bytes that may still be allocated under the memory limits of a process's cgroup and all above, and the
/// folder that leaves the least. `None`: no limit.
///
/// # Errors
/// One of them is there and cannot be read.
pub fn memory_headroom(memberships: &[Membership]) -> io::Result<Option<(u64, PathBuf)>> {
    let mut tightest: Option<(u64, PathBuf)> = None;
    for membership in with("memory", memberships) {
        for folder in membership.upwards() {
            if let Some(room) = room(folder, membership.version)?
                && tightest.as_ref().is_none_or(|(least, _)| room < *least)
            {
                tightest = Some((room, folder.to_owned()));
            }
        }
    }
    Ok(tightest)
}

/// Bytes below the memory limit of one cgroup. `None`: it has none.
fn room(folder: &Path, version: CgroupVersion) -> io::Result<Option<u64>> {
    let (limit, usage, cache) = match version {
        CgroupVersion::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        CgroupVersion::V2 => ("memory.max", "memory.current", "inactive_file "),
    };
    let (Some(limit), Some(usage)) = (number(folder, limit)?, number(folder, usage)?) else {
        return Ok(None);
    };
    // Pages of files that nobody uses give way.
    let stat = text(folder, "memory.stat")?.unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
    let held = (usage as u64).saturating_sub(cache.unwrap_or(0));
    Ok(Some((limit as u64).saturating_sub(held)))
}

/// The tightest limit on the memory of a process by its cgroup and all above, in bytes. `None`: no limit.
pub fn memory_limit(memberships: &[Membership]) -> Option<u64> {
    tightest("memory", ("memory.limit_in_bytes", "memory.max"), memberships)
}

/// The tightest limit on how many processes and threads there may be in a process's cgroup and all above.
pub fn process_limit(memberships: &[Membership]) -> Option<u64> {
    tightest("pids", ("pids.max", "pids.max"), memberships)
}

/// By a file of version 1 or of version 2.
fn tightest(controller: &str, files: (&str, &str), memberships: &[Membership]) -> Option<u64> {
    let limits = with(controller, memberships).flat_map(|membership| {
        let file = match membership.version {
            CgroupVersion::V1 => files.0,
            CgroupVersion::V2 => files.1,
        };
        // What cannot be read holds nobody back: whoever asks wants a limit to rely on.
        membership.upwards().filter_map(move |folder| number(folder, file).ok().flatten())
    });
    limits.map(|limit| limit as u64).min()
}

/// How many processes the out-of-memory killer has ended in a process's cgroup. 0 where nobody counts.
pub fn oom_kills(memberships: &[Membership]) -> u64 {
    let counts = with("memory", memberships).filter_map(|membership| {
        let file = match membership.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        let text = fs::read_to_string(membership.folder.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
    });
    counts.sum()
}

fn with<'a>(controller: &'a str, memberships: &'a [Membership]) -> impl Iterator<Item = &'a Membership> {
    memberships.iter().filter(move |membership| match membership.version {
        CgroupVersion::V1 => membership.controls(controller),
        // The files are there or not, at each level of its own.
        CgroupVersion::V2 => true,
    })
}

/// `None`: there is no such file, or it says `max`.
fn number(folder: &Path, file: &str) -> io::Result<Option<f64>> {
    Ok(text(folder, file)?.and_then(|text| text.trim().parse().ok()))
}

/// `None`: there is no such file, or the cgroup is gone.
fn text(folder: &Path, file: &str) -> io::Result<Option<String>> {
    let path = folder.join(file);
    match fs::read_to_string(&path) {
        Err(error) if is_removed(&error) => Ok(None),
        other => other.map(Some).map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
    }
}

/// What is read of a cgroup that is being removed meanwhile fails with ENODEV.
pub(crate) fn is_removed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// `QUOTA PERIOD`, both in microseconds, or `max PERIOD`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
        31 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 23 0:29 /docker/ab /sys/fs/cgroup/mem\\040ory rw shared:7 - cgroup cgroup rw,memory\n\
        35 23 0:30 / /proc rw - proc proc rw\n";

    #[test]
    fn every_mounted_hierarchy_is_found_by_its_controllers() {
        let cgroups = b"5:cpu,cpuacct:/web/a\n4:memory:/docker/ab/c\n3:pids:/x\n0::/web\n";
        let found = parse(cgroups, MOUNTS);
        let folders: Vec<_> = found.iter().map(|one| one.folder.to_str().unwrap()).collect();
        let expected =
            ["/sys/fs/cgroup/cpu,cpuacct/web/a", "/sys/fs/cgroup/mem ory/c", "/sys/fs/cgroup/unified/web"];
        assert_eq!(folders, expected);
        assert!(found[0].controls("cpuacct") && !found[0].controls("memory"));
        let upwards: Vec<_> = found[0].upwards().map(|folder| folder.to_str().unwrap()).collect();
        assert_eq!(upwards[1..], ["/sys/fs/cgroup/cpu,cpuacct/web", "/sys/fs/cgroup/cpu,cpuacct"]);
    }

    #[test]
    fn a_cgroup_outside_of_what_is_mounted_is_left_out() {
        assert_eq!(parse(b"4:memory:/system/other\n", MOUNTS), []);
    }

    #[test]
    fn a_mount_or_cgroup_of_other_bytes_hides_no_other() {
        let mounts = [b"30 23 0:9 / /mnt/\xff\xc4 rw - ext4 /dev/x rw\n", MOUNTS].concat();
        let found = parse(b"9:name=\xff:/x\n4:memory:/docker/ab/\xc5\x82\xc5\n", &mounts);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].folder.as_os_str().as_bytes(), b"/sys/fs/cgroup/mem ory/\xc5\x82\xc5");
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_not_taken_for_none() {
        let (root, memberships) = hierarchy(&[("a/b/memory.current", "1")]);
        fs::create_dir_all(root.path().join("a/b/memory.max")).unwrap();
        fs::create_dir_all(root.path().join("a/cpu.max")).unwrap();
        assert!(memory_headroom(&memberships).unwrap_err().to_string().contains("a/b/memory.max"));
        assert!(cpu_quota(&memberships).is_err());
    }

    #[test]
    fn a_quota_of_version_two_is_a_fraction_or_none() {
        assert_eq!(parse_cpu_max("50000 100000\n"), Some(0.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
    }

    /// A hierarchy in a plain folder: the files are what counts.
    fn hierarchy(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Membership>) {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root_path = root.path().to_owned();
        let folder = root_path.join("a/b");
        let version = CgroupVersion::V2;
        (root, vec![Membership { version, controllers: Vec::new(), folder, root: root_path }])
    }

    #[test]
    fn the_tightest_limit_up_the_hierarchy_counts() {
        let (_root, memberships) = hierarchy(&[
            ("a/cpu.max", "150000 100000"),
            ("a/b/cpu.max", "max 100000"),
            ("a/memory.max", "1000"),
            ("a/memory.current", "900"),
            ("a/memory.stat", "anon 5\ninactive_file 200\n"),
            ("a/b/memory.max", "800"),
            ("a/b/memory.current", "100"),
        ]);
        assert_eq!(cpu_quota(&memberships).unwrap(), Some(1.5));
        let (room, folder) = memory_headroom(&memberships).unwrap().unwrap();
        assert_eq!(room, 300);
        assert!(folder.ends_with("a"));
    }

    #[test]
    fn the_limit_of_what_it_is_part_of_is_its_own_too() {
        let (_root, memberships) = hierarchy(&[
            ("a/memory.max", "1000"),
            ("a/b/memory.max", "max"),
            ("pids.max", "max"),
            ("a/pids.max", "70"),
            ("a/b/pids.max", "80"),
        ]);
        assert_eq!((memory_limit(&memberships), process_limit(&memberships)), (Some(1000), Some(70)));
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let (_root, memberships) = hierarchy(&[("a/b/memory.max", "max"), ("a/b/memory.current", "1")]);
        assert_eq!((cpu_quota(&memberships).unwrap(), memory_headroom(&memberships).unwrap()), (None, None));
        assert_eq!((memory_limit(&memberships), process_limit(&memberships)), (None, None));
    }
}
