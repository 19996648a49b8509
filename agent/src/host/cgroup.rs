//! Cgroups that a target owns, or that we make below its own: freeze, thaw, attach.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use chaos_kitty_guard::{Undo, process::there};
use rustix::fs::{Access, access};

use super::{
    membership::{self, CgroupVersion, Membership},
    process::{self, Process},
};

/// A cgroup on a hierarchy that can freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its folder.
    pub folder: PathBuf,
    /// Of the hierarchy.
    pub version: CgroupVersion,
}

/// What a target is on its host: a process with its descendants, or a whole cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Its main process.
    pub main: Process,
    /// The name of the cgroup that is the target's own: the main process is in it or below it, on every hierarchy
    /// that has it. `None`: it is a process with its descendants.
    pub cgroup: Option<Arc<str>>,
}

impl Extent {
    /// All of its processes now, the main one first. Empty: it is gone.
    ///
    /// # Errors
    /// Some of them may be there and cannot be looked at.
    pub fn processes(&self) -> io::Result<Vec<Process>> {
        let Some(name) = &self.cgroup else { return process::tree(self.main) };
        let Some(memberships) = there(membership::of(self.main.pid))? else { return Ok(Vec::new()) };
        if self.main.look()?.is_none() {
            return Ok(Vec::new());
        }
        let mut others = Vec::new();
        let pids = match memberships.iter().find_map(|one| named(one, name)) {
            Some(folder) => members(folder)?,
            None => unmounted(name)?,
        };
        for pid in pids {
            others.extend(Process::find(pid)?.filter(|process| *process != self.main));
        }
        others.sort_unstable();
        Ok([self.main].into_iter().chain(others).collect())
    }

    /// The cgroups that hold the whole target and nobody else, on hierarchies that can freeze: version 2 first.
    /// What one of them does, its owner may have done through another.
    ///
    /// # Errors
    /// See [`Self::processes`].
    pub fn freezers(&self) -> io::Result<Vec<Cgroup>> {
        let Some(name) = &self.cgroup else {
            return Ok(Cgroup::owned_by(&process::tree(self.main)?)?.into_iter().collect());
        };
        let memberships = there(membership::of(self.main.pid))?.unwrap_or_default();
        let own = memberships
            .iter()
            .filter(|one| can_freeze(one))
            .filter_map(|one| Some(Cgroup { folder: named(one, name)?.to_owned(), version: one.version }));
        let mut freezers: Vec<_> = own.collect();
        freezers.sort_by_key(|one| one.version == CgroupVersion::V1);
        Ok(freezers)
    }
}

/// The cgroup of that name that a process is in, or the one above it.
fn named<'a>(membership: &'a Membership, name: &str) -> Option<&'a Path> {
    membership.upwards().find(|folder| folder.file_name().is_some_and(|own| own == name))
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
    ///
    /// # Errors
    /// Its cgroups are there and cannot be looked at.
    pub fn owned_by(tree: &[Process]) -> io::Result<Option<Self>> {
        let Some(main) = tree.first() else { return Ok(None) };
        let expected: HashSet<u32> = tree.iter().map(|process| process.pid).collect();
        let memberships = there(membership::of(main.pid))?.unwrap_or_default();
        let mut freezers: Vec<_> =
            memberships.iter().filter(|one| one.folder != one.root && can_freeze(one)).collect();
        freezers.sort_by_key(|one| one.version == CgroupVersion::V1);
        for one in freezers {
            if there(members(&one.folder))?.is_some_and(|pids| pids == expected) {
                return Ok(Some(Self { folder: one.folder.clone(), version: one.version }));
            }
        }
        Ok(None)
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// The process is gone, or the kernel refuses.
    pub fn attach(&self, pid: u32) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Whether this process may move others in.
    pub fn takes_processes(&self) -> bool {
        access(self.folder.join("cgroup.procs"), Access::WRITE_OK).is_ok()
    }

    /// Whether this process may freeze it.
    pub fn can_be_frozen(&self) -> bool {
        let file = match self.version {
            CgroupVersion::V1 => "freezer.state",
            CgroupVersion::V2 => "cgroup.freeze",
        };
        access(self.folder.join(file), Access::WRITE_OK).is_ok()
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

/// The cgroups of a process that set limits, and that this process is not in.
///
/// # Errors
/// It is gone, or /proc can not be read.
pub fn limiting(process: Process) -> io::Result<Vec<Cgroup>> {
    let own = membership::of(std::process::id())?;
    let theirs =
        membership::of(process.pid)?.into_iter().filter(|one| !own.contains(one) && sets_limits(one));
    Ok(theirs.map(|one| Cgroup { folder: one.folder, version: one.version }).collect())
}

/// Not the freezer, or a pause of the target would pause its own stressor; not hierarchies that only name.
fn sets_limits(membership: &Membership) -> bool {
    const LIMITS: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];
    let top = Membership { folder: membership.root.clone(), ..membership.clone() };
    LIMITS.iter().any(|controller| top.controls(controller))
}

/// The cgroup below which one is made for what runs on a target (`None`: on the host). Version 2 can end a cgroup in
/// one step, so it comes first: below the target's, whose limits then count, or beside the agent's for a host. The
/// freezer of version 1 can do it in three; it sets no limits, and is below the agent's own, since a pause of the
/// target would keep from ending what is below the target's. None: none of them is writable.
///
/// # Errors
/// The target is gone, or /proc can not be read.
pub fn room_below(target: Option<Process>) -> io::Result<Option<Cgroup>> {
    let agent = std::process::id();
    let beside = |membership: &Membership| match membership.folder.parent() {
        Some(above) if target.is_none() && above.starts_with(&membership.root) => above.to_owned(),
        _ => membership.folder.clone(),
    };
    let theirs = membership::of(target.map_or(agent, |target| target.pid))?.into_iter();
    let theirs = theirs.filter(|one| one.version == CgroupVersion::V2);
    let theirs = theirs.map(|one| Cgroup { folder: beside(&one), version: one.version });
    let ours = membership::of(agent)?.into_iter();
    let ours = ours.filter(|one| one.version == CgroupVersion::V1 && one.controls("freezer"));
    let ours = ours.map(|one| Cgroup { folder: one.folder, version: one.version });
    let is_writable = |place: &Cgroup| access(&place.folder, Access::WRITE_OK).is_ok();
    Ok(theirs.chain(ours).find(is_writable))
}

fn can_freeze(one: &Membership) -> bool {
    match one.version {
        CgroupVersion::V1 => one.controls("freezer"),
        // Linux 5.2.
        CgroupVersion::V2 => one.folder.join("cgroup.freeze").exists(),
    }
}

/// Pids of the processes in a cgroup of that name and below it, where no hierarchy that shows it is mounted.
fn unmounted(name: &str) -> io::Result<HashSet<u32>> {
    let mut found = HashSet::new();
    for pid in process::pids()? {
        if membership::name_of(pid, |own| own == name)?.is_some() {
            found.insert(pid);
        }
    }
    Ok(found)
}

fn members(folder: &Path) -> io::Result<HashSet<u32>> {
    let listed = fs::read_to_string(folder.join("cgroup.procs"))?;
    let mut pids = HashSet::new();
    for pid in listed.lines() {
        let pid = pid.parse().map_err(io::Error::other)?;
        if pid == 0 {
            let what = format!("{} has a process outside of this pid namespace", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        pids.insert(pid);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            match members(&entry.path()) {
                Ok(below) => pids.extend(below),
                // Removed meanwhile; or threaded, so that the one above lists its processes (cgroups(7)).
                Err(error)
                    if membership::is_removed(&error) || error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(pids)
}
