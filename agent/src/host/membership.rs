//! Which cgroup a process is in, on every hierarchy, and the limits from there upwards.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

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
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse(&cgroups, &mounts))
}

/// The name of the uppermost cgroup that a process is in or below, of those that fit, on any hierarchy. Unlike
/// [`of`] it also sees what is not mounted here.
pub fn name_of(pid: u32, fits: impl Fn(&str) -> bool) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find(|name| fits(name)).map(str::to_owned)
}

/// See cgroups(7) for `/proc/PID/cgroup` and proc(5) for mountinfo.
fn parse(cgroups: &str, mounts: &str) -> Vec<Membership> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let lines = cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    lines
        .filter_map(|(controllers, path)| {
            let controllers: Vec<String> =
                controllers.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
            let version = if controllers.is_empty() { CgroupVersion::V2 } else { CgroupVersion::V1 };
            let mount = mounts.iter().find(|mount| mount.version == version && mount.has(&controllers))?;
            // A path that leads out of what is mounted can not be seen from here.
            let below = Path::new(path).strip_prefix(&mount.shows).ok()?;
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
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup" => CgroupVersion::V1,
            "cgroup2" => CgroupVersion::V2,
            _ => return None,
        };
        let options = kind.nth(1)?.split(',').map(str::to_owned).collect();
        let mut place = place.split(' ').skip(3);
        let (shows, at) = (place.next()?.into(), place.next()?.replace("\\040", " ").into());
        Some(Self { version, shows, at, options })
    }

    fn has(&self, controllers: &[String]) -> bool {
        controllers.iter().all(|controller| self.options.contains(controller))
    }
}

/// Cores of processor time that a process may use by the quotas of its cgroup and all above. `None`: no quota.
pub fn cpu_quota(memberships: &[Membership]) -> Option<f64> {
    let quotas = with("cpu", memberships).flat_map(|membership| {
        membership.upwards().filter_map(move |folder| match membership.version {
            CgroupVersion::V1 => {
                let quota = number(folder, "cpu.cfs_quota_us").filter(|quota| *quota > 0.0)?;
                Some(quota / number(folder, "cpu.cfs_period_us")?)
            }
            CgroupVersion::V2 => parse_cpu_max(&fs::read_to_string(folder.join("cpu.max")).ok()?),
        })
    });
    quotas.min_by(f64::total_cmp)
}

/// Bytes that may still be allocated under the memory limits of a process's cgroup and all above, and the
/// folder that leaves the least. `None`: no limit.
pub fn memory_headroom(memberships: &[Membership]) -> Option<(u64, PathBuf)> {
    let rooms = with("memory", memberships).flat_map(|membership| {
        membership.upwards().filter_map(move |folder| {
            let (limit, usage, cache) = match membership.version {
                CgroupVersion::V1 => {
                    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
                }
                CgroupVersion::V2 => ("memory.max", "memory.current", "inactive_file "),
            };
            let limit = number(folder, limit)? as u64;
            let usage = number(folder, usage)? as u64;
            // Pages of files that nobody uses give way.
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse().ok());
            let held = usage.saturating_sub(cache.unwrap_or(0));
            Some((limit.saturating_sub(held), folder.to_owned()))
        })
    });
    rooms.min_by_key(|(room, _)| *room)
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
        membership.upwards().filter_map(move |folder| number(folder, file))
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
fn number(folder: &Path, file: &str) -> Option<f64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// `QUOTA PERIOD`, both in microseconds, or `max PERIOD`.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        31 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        34 23 0:29 /docker/ab /sys/fs/cgroup/mem\\040ory rw shared:7 - cgroup cgroup rw,memory\n\
        35 23 0:30 / /proc rw - proc proc rw\n";

    #[test]
    fn every_mounted_hierarchy_is_found_by_its_controllers() {
        let cgroups = "5:cpu,cpuacct:/web/a\n4:memory:/docker/ab/c\n3:pids:/x\n0::/web\n";
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
        assert_eq!(parse("4:memory:/system/other\n", MOUNTS), []);
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
        assert_eq!(cpu_quota(&memberships), Some(1.5));
        let (room, folder) = memory_headroom(&memberships).unwrap();
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
        assert_eq!((cpu_quota(&memberships), memory_headroom(&memberships)), (None, None));
        assert_eq!((memory_limit(&memberships), process_limit(&memberships)), (None, None));
    }
}
