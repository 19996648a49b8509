//! An observer that shares no code with the agent: what of a cell stands still, burns, holds memory or runs
//! that should not, read from /proc and the cgroup file systems alone.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, waitpid};

/// A scan of all processes serves every cell for this long.
const SCAN_AGE: Duration = Duration::from_millis(100);

/// One incarnation of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    start: u64,
    /// As when it was seen first.
    name: String,
}

/// A line of /proc.
#[derive(Clone, Debug)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) state: char,
    start: u64,
    name: String,
}

impl Stat {
    /// `None`: there is no such process.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let fields: Vec<_> = text[close + 1..].split_ascii_whitespace().collect();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
            start: fields.get(19)?.parse().ok()?,
            name: text[open + 1..close].to_owned(),
        })
    }

    fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    pub(crate) fn is_guard(&self) -> bool {
        self.name == "kitty-guard"
    }

    fn seen(&self) -> Seen {
        Seen { pid: self.pid, start: self.start, name: self.name.clone() }
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

/// All processes, as they were at most so long ago.
fn scan(age: Duration) -> Arc<Vec<Stat>> {
    static LAST: Mutex<Option<(Instant, Arc<Vec<Stat>>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap();
    if let Some((at, all)) = last.as_ref()
        && at.elapsed() < age
    {
        return Arc::clone(all);
    }
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all = Arc::new(pids.filter_map(Stat::read).collect::<Vec<_>>());
    *last = Some((Instant::now(), Arc::clone(&all)));
    all
}

/// Everything below a process, itself left out.
pub(crate) fn descendants(root: u32, age: Duration) -> Vec<Stat> {
    let all = scan(age);
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = BTreeSet::from([root]);
    loop {
        let known: BTreeSet<_> = found.iter().map(|stat| stat.pid).collect();
        let new: Vec<_> = all
            .iter()
            .filter(|stat| parents.contains(&stat.parent) && !known.contains(&stat.pid))
            .cloned()
            .collect();
        if new.is_empty() {
            return found;
        }
        parents.extend(new.iter().map(|stat| stat.pid));
        found.extend(new);
    }
}

/// The folders in which agents make cgroups for the scripts of targets that live where this process does.
fn cgroup_folders() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut folders = Vec::new();
    for mount in mounts.lines() {
        let Some((before, after)) = mount.split_once(" - ") else { continue };
        let point = before.split(' ').nth(4).unwrap();
        let options = after.split(' ').nth(2).unwrap_or_default();
        let version_2 = after.starts_with("cgroup2 ");
        if !version_2 && !after.starts_with("cgroup ") {
            continue;
        }
        for line in own.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
            let of_mount = if version_2 {
                controllers.is_empty()
            } else {
                !controllers.is_empty() && controllers.split(',').all(|name| options.contains(name))
            };
            if of_mount {
                folders.push(Path::new(point).join(path.trim_start_matches('/')));
            }
        }
    }
    folders
}

/// What one cell may leave behind.
#[derive(Debug)]
pub(crate) struct Observer {
    /// Processes that must run, whatever was done to them.
    targets: Vec<u32>,
    /// Whatever agents made, guards among them.
    made: BTreeSet<Seen>,
    folders: Vec<PathBuf>,
}

impl Observer {
    pub(crate) fn new(targets: Vec<u32>) -> Self {
        Self { targets, made: BTreeSet::new(), folders: cgroup_folders() }
    }

    /// Notes what an agent has made up to now.
    pub(crate) fn note(&mut self, agent: u32) {
        self.made.extend(descendants(agent, Duration::ZERO).iter().map(Stat::seen));
    }

    /// Notes what an agent has made, a little while ago at the latest.
    pub(crate) fn keep_noting(&mut self, agent: u32) {
        self.made.extend(descendants(agent, SCAN_AGE).iter().map(Stat::seen));
    }

    /// What is left, in words. Empty: nothing.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left: Vec<_> = self
            .targets
            .iter()
            .filter(|pid| is_stopped(**pid))
            .map(|pid| format!("process {pid} stands still"))
            .collect();
        let alive =
            |seen: &&Seen| Stat::read(seen.pid).is_some_and(|now| now.start == seen.start && now.runs());
        let strays = self
            .made
            .iter()
            .filter(|seen| seen.name != "kitty-guard")
            .filter(alive)
            .filter(|seen| !is_blocked(seen.pid));
        left.extend(strays.map(|seen| format!("{} {} runs", seen.name, seen.pid)));
        left.extend(self.cgroups().iter().map(|cgroup| format!("{} is there", cgroup.display())));
        left
    }

    /// Those of scripts that agents of this cell started.
    fn cgroups(&self) -> Vec<PathBuf> {
        let ours = |name: &str| {
            let pid =
                name.strip_prefix("kitty-script-").and_then(|rest| rest.split('-').next()?.parse().ok());
            pid.is_some_and(|pid: u32| self.made.iter().any(|seen| seen.pid == pid))
        };
        let entries = self.folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(ours))
            .map(|entry| entry.path())
            .collect()
    }

    /// Ends whatever is left after all, so that a cell that failed hurts no other.
    pub(crate) fn clean_up(&self) {
        let signal = |pid: u32, signal| {
            let _ = rustix::process::kill_process(pid_of(pid), signal);
        };
        for pid in self.targets.iter().filter(|pid| is_stopped(**pid)) {
            signal(*pid, rustix::process::Signal::CONT);
        }
        for seen in &self.made {
            if let Some(now) = Stat::read(seen.pid).filter(|now| now.start == seen.start) {
                if now.runs() {
                    signal(seen.pid, rustix::process::Signal::KILL);
                }
                // Orphans come to this process, which has made itself their reaper.
                if now.parent == std::process::id() {
                    let _ = waitpid(Some(pid_of(seen.pid)), WaitOptions::NOHANG);
                }
            }
        }
        for cgroup in self.cgroups() {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            let _ = fs::remove_dir(cgroup);
        }
    }
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}
