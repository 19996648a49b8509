//! Cgroups that a target owns, or that we make below its own: freeze, thaw, attach.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use chaos_kitty_guard::Undo;

use super::{
    membership::{self, CgroupVersion, Membership},
    process::Process,
};

/// A cgroup on a hierarchy that can freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its folder.
    pub folder: PathBuf,
    /// Of the hierarchy.
    pub version: CgroupVersion,
}

/// What the freezer says of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freezer {
    /// It runs.
    Thawed,
    /// Not all of its processes stand still yet.
    Freezing,
    /// All of its processes stand still.
    Frozen,
}

impl Cgroup {
    /// The cgroup that holds exactly this process tree (main process first): freezing it stops the target and
    /// nobody else. Version 2 first.
    pub fn owned_by(tree: &[Process]) -> Option<Self> {
        let expected: HashSet<u32> = tree.iter().map(|process| process.pid).collect();
        let memberships = membership::of(tree.first()?.pid).ok()?;
        let mut freezers: Vec<_> =
            memberships.iter().filter(|one| one.folder != one.root && can_freeze(one)).collect();
        freezers.sort_by_key(|one| one.version == CgroupVersion::V1);
        let owned =
            freezers.into_iter().find(|one| members(&one.folder).is_ok_and(|pids| pids == expected))?;
        Some(Self { folder: owned.folder.clone(), version: owned.version })
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// The process is gone, or the kernel refuses.
    pub fn attach(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Pids of the processes in it and below it.
    ///
    /// # Errors
    /// It is gone.
    pub fn members(&self) -> io::Result<HashSet<u32>> {
        members(&self.folder)
    }

    /// Asks its processes to stand still. [`Self::freezer`] says when they do.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
    pub fn freeze(&self) -> io::Result<()> {
        match self.version {
            CgroupVersion::V1 => fs::write(self.folder.join("freezer.state"), "FROZEN"),
            CgroupVersion::V2 => fs::write(self.folder.join("cgroup.freeze"), "1"),
        }
    }

    /// How it is undone.
    pub fn thaw(&self) -> Undo {
        Undo::Thaw { cgroup: self.folder.clone(), version: self.version }
    }

    /// Whether its processes stand still, for whatever reason.
    ///
    /// # Errors
    /// It is gone.
    pub fn freezer(&self) -> io::Result<Freezer> {
        match self.version {
            CgroupVersion::V1 => {
                let state = fs::read_to_string(self.folder.join("freezer.state"))?;
                Ok(match state.trim() {
                    "THAWED" => Freezer::Thawed,
                    "FROZEN" => Freezer::Frozen,
                    _ => Freezer::Freezing,
                })
            }
            CgroupVersion::V2 => {
                let events = fs::read_to_string(self.folder.join("cgroup.events"))?;
                let asked = fs::read_to_string(self.folder.join("cgroup.freeze"))?;
                Ok(match (events.lines().any(|line| line == "frozen 1"), asked.trim()) {
                    (true, _) => Freezer::Frozen,
                    (false, "1") => Freezer::Freezing,
                    (false, _) => Freezer::Thawed,
                })
            }
        }
    }

    /// For evidence: "freezer.state" or "cgroup.freeze".
    pub const fn attribute(&self) -> &'static str {
        match self.version {
            CgroupVersion::V1 => "freezer.state",
            CgroupVersion::V2 => "cgroup.freeze",
        }
    }
}

fn can_freeze(one: &Membership) -> bool {
    match one.version {
        CgroupVersion::V1 => one.controls("freezer"),
        // Linux 5.2.
        CgroupVersion::V2 => one.folder.join("cgroup.freeze").exists(),
    }
}

fn members(folder: &Path) -> io::Result<HashSet<u32>> {
    let mut pids: HashSet<u32> =
        fs::read_to_string(folder.join("cgroup.procs"))?.lines().filter_map(|pid| pid.parse().ok()).collect();
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(members(&entry.path())?);
        }
    }
    Ok(pids)
}
