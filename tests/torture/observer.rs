//! An observer that shares no code with the agent: what of a cell stands still, burns, holds memory, runs or lies
//! around that should not, read from /proc, the cgroup file system and the cell's folder alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chaos_kitty::procfs;

use crate::ground::{self, Ground};

/// A target may grow by itself; what is allocated is more.
const GROWTH: u64 = 12 << 20;

/// A line of /proc.
#[derive(Clone, Debug)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    pub(crate) state: char,
    pub(crate) name: String,
    resident: u64,
}

impl Stat {
    /// `None`: there is no such process.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let (name, fields) = procfs::stat(&text)?;
        let fields: Vec<_> = fields.collect();
        let pages: u64 = fields.get(21)?.parse().ok()?;
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            name: String::from_utf8_lossy(name).into_owned(),
            resident: pages * rustix::param::page_size() as u64,
        })
    }

    fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Whether a process stands still by a signal.
pub(crate) fn is_stopped(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.state == 'T')
}

/// Whether it waits for a word on a pipe: a child that has not been let go does nothing, and ends with its agent.
fn is_blocked(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("pipe_read"))
}

/// What one cell looks like with nothing in force.
#[derive(Debug)]
pub(crate) struct Observer {
    pub(crate) ground: Ground,
    folder: PathBuf,
    /// Processes that must run, whatever was done to them, and how large they are.
    targets: Vec<(u32, u64)>,
    groups: Vec<PathBuf>,
    files: BTreeSet<String>,
}

impl Observer {
    /// Looks before anything is done to these targets. `folder`: where they and the agents run.
    pub(crate) fn new(ground: Ground, folder: &Path, targets: &[u32]) -> Self {
        let size = |pid: u32| Stat::read(pid).expect("a target runs").resident;
        let targets = targets.iter().map(|pid| (*pid, size(*pid))).collect();
        Self { groups: ground.groups(), files: files(folder), folder: folder.to_owned(), targets, ground }
    }

    /// Takes in that a target was started anew.
    pub(crate) fn replace(&mut self, old: u32, new: u32) {
        for target in self.targets.iter_mut().filter(|(pid, _)| *pid == old) {
            *target = (new, Stat::read(new).expect("a target runs").resident);
        }
    }

    /// The guards that run.
    pub(crate) fn guards(&self) -> Vec<u32> {
        let is_guard =
            |pid: &u32| Stat::read(*pid).is_some_and(|stat| stat.runs() && stat.name == "kitty-guard");
        self.ground.pids().into_iter().filter(is_guard).collect()
    }

    /// What is left, in words. Empty: nothing. `agents`: those that are to run.
    pub(crate) fn left(&self, agents: &[u32]) -> Vec<String> {
        let groups = self.ground.groups();
        let mut left: Vec<_> = self.targets.iter().filter_map(|(pid, size)| hurt(*pid, *size)).collect();
        let frozen = groups.iter().filter(|group| ground::is_frozen(group));
        left.extend(frozen.map(|group| format!("{} stands still", group.display())));
        left.extend(self.strays(&groups, agents));
        let new = groups.iter().filter(|group| !self.groups.contains(group));
        left.extend(new.map(|group| format!("{} is there", group.display())));
        left.extend(
            files(&self.folder).difference(&self.files).map(|file| format!("the file {file} is there")),
        );
        left
    }

    /// What agents made and that is no guard.
    fn strays(&self, groups: &[PathBuf], agents: &[u32]) -> Vec<String> {
        let known = |pid: &u32| agents.contains(pid) || self.targets.iter().any(|(target, _)| target == pid);
        let others = ground::pids(groups).into_iter().filter(|pid| !known(pid));
        let seen = others.filter_map(|pid| Some((pid, Stat::read(pid)?)));
        let strays =
            seen.filter(|(pid, stat)| stat.runs() && stat.name != "kitty-guard" && !is_blocked(*pid));
        strays.map(|(pid, stat)| format!("{} {pid} runs", stat.name)).collect()
    }
}

/// What is wrong with a target.
fn hurt(pid: u32, size: u64) -> Option<String> {
    match Stat::read(pid).filter(Stat::runs) {
        None => Some(format!("process {pid} has ended")),
        Some(stat) if stat.state == 'T' => Some(format!("process {pid} stands still")),
        Some(stat) if stat.resident > size + GROWTH => {
            Some(format!("process {pid} holds {} MiB more", (stat.resident - size) >> 20))
        }
        Some(_) => None,
    }
}

/// What lies in a folder, without what the agents and the tests themselves keep there.
fn files(folder: &Path) -> BTreeSet<String> {
    let ours = |name: &str| {
        name.starts_with("state") || [".ipc", ".lock", ".out", ".err"].iter().any(|end| name.ends_with(end))
    };
    let names =
        fs::read_dir(folder).unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !ours(name)).collect()
}
