//! Cgroups of the tests' own making.

use std::{fs, path::PathBuf};

use chaos_kitty_agent::host::membership::{self, CgroupVersion, Membership};
use uuid::Uuid;

use crate::driver::eventually;

/// A cgroup below this process's, on the hierarchy of a controller. Removed when dropped, once it is empty.
pub(crate) struct Cgroup {
    pub(crate) folder: PathBuf,
    version: CgroupVersion,
}

impl Cgroup {
    pub(crate) fn with(controller: &str) -> Self {
        let memberships = membership::of(std::process::id()).unwrap();
        let hierarchy = memberships.into_iter().find(|one| one.controls(controller));
        let hierarchy = hierarchy.unwrap_or_else(|| panic!("no cgroup hierarchy with {controller}"));
        if hierarchy.version == CgroupVersion::V2 {
            fs::write(hierarchy.root.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
        }
        Self::below(&hierarchy)
    }

    pub(crate) fn below(hierarchy: &Membership) -> Self {
        // Version 2 allows no processes beside a cgroup that has controllers.
        let parent = match hierarchy.version {
            CgroupVersion::V1 => &hierarchy.folder,
            CgroupVersion::V2 => &hierarchy.root,
        };
        let folder = parent.join(format!("kitty-test-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self { folder, version: hierarchy.version }
    }

    pub(crate) fn set(&self, v1: (&str, &str), v2: (&str, &str)) {
        let (file, value) = if self.version == CgroupVersion::V1 { v1 } else { v2 };
        fs::write(self.folder.join(file), value).unwrap();
    }

    pub(crate) fn add(&self, pid: u32) {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let procs = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap();
        procs.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            _ = fs::remove_dir(&self.folder);
        } else {
            eventually("the cgroup is empty", || fs::remove_dir(&self.folder).is_ok());
        }
    }
}
