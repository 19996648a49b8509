//! How a fault is put back, as data: armed in the guard, written to the journal, and carried out by whoever
//! is left to do it. An undo is idempotent, and a target that is gone counts as done.

use std::{fmt, fs, io, path::PathBuf, time::Duration};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::{Process, cgroup, command, hooks, http};

/// One thing to put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// Processes that were stopped by a signal go on.
    Continue {
        /// Every process that was stopped, and no others.
        processes: Vec<Process>,
    },
    /// A cgroup that was frozen goes on.
    Thaw {
        /// Its folder; on version 1 that of the freezer hierarchy.
        cgroup: PathBuf,
        /// Of the hierarchy.
        version: CgroupVersion,
    },
    /// Processes of our own making (stressors) are killed; done once they have ended.
    EndProcesses {
        /// All of them.
        processes: Vec<Process>,
    },
    /// Everything in a cgroup of our own making, and below it, is killed; done once it is empty.
    EndCgroup {
        /// Its folder; on version 1 that of the freezer hierarchy.
        cgroup: PathBuf,
        /// Of the hierarchy.
        version: CgroupVersion,
    },
    /// A file of our own making is removed.
    RemoveFile {
        /// Absolute.
        path: PathBuf,
    },
    /// A cgroup of our own making is removed with those below it, once it is empty.
    RemoveCgroup {
        /// Its folder.
        cgroup: PathBuf,
    },
    /// A program is run. Done when it exits with 0; tried again otherwise, then stuck.
    Run {
        /// The absolute path of the program, then its arguments. No shell.
        argv: Vec<String>,
        /// Longest time for one try.
        limit: Duration,
    },
    /// One HTTP request to a local Unix socket. Done on any 2xx, 304 or 404; tried again otherwise, then stuck.
    HttpUnix {
        /// The socket.
        socket: PathBuf,
        /// e.g. `POST`.
        method: String,
        /// Path and query, percent-encoded.
        path: String,
    },
}

/// Which cgroup hierarchy a folder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Whether an undo is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is put back, or its target is gone.
    Done,
    /// It was issued and takes time: call again soon.
    Again,
}

impl Undo {
    /// Whether it can be done with a few system calls, so that it never waits for anybody.
    pub const fn is_local(&self) -> bool {
        !matches!(self, Self::Run { .. } | Self::HttpUnix { .. })
    }

    /// Whether what it puts back is still there after the host was started again. Processes, what stops them and
    /// their cgroups are not.
    pub const fn outlives_a_boot(&self) -> bool {
        matches!(self, Self::RemoveFile { .. } | Self::Run { .. } | Self::HttpUnix { .. })
    }

    /// Issues it, and looks whether it is done. A local one never blocks; the others block up to their limit.
    ///
    /// # Errors
    /// The kernel or the program refuses; trying again may help.
    pub fn step(&self) -> io::Result<Progress> {
        match self {
            Self::Continue { processes } => {
                signal_all(processes, Signal::CONT, |process| !is_stopped(process))?;
                Ok(Progress::Done)
            }
            Self::Thaw { cgroup, version } => cgroup::thaw(cgroup, *version),
            Self::EndProcesses { processes } => {
                signal_all(processes, Signal::KILL, Process::has_ended)?;
                Ok(done_if(processes.iter().all(Process::has_ended)))
            }
            Self::EndCgroup { cgroup, version } => cgroup::end(cgroup, *version),
            Self::RemoveFile { path } => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Progress::Done),
            },
            Self::RemoveCgroup { cgroup } => cgroup::remove(cgroup),
            Self::Run { argv, limit } => command::run(argv, *limit).map(|()| Progress::Done),
            Self::HttpUnix { socket, method, path } => {
                http::request(socket, method, path).map(|()| Progress::Done)
            }
        }
    }
}

/// The command that a person can run in its place.
impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue { processes } => write!(f, "kill -CONT {}", pids(processes)),
            Self::EndProcesses { processes } => write!(f, "kill -KILL {}", pids(processes)),
            Self::Thaw { cgroup, version: CgroupVersion::V1 } => {
                write!(f, "echo THAWED > {}/freezer.state", cgroup.display())
            }
            Self::Thaw { cgroup, version: CgroupVersion::V2 } => {
                write!(f, "echo 0 > {}/cgroup.freeze", cgroup.display())
            }
            Self::EndCgroup { cgroup, version: CgroupVersion::V1 } => {
                write!(f, "kill -KILL $(cat {}/cgroup.procs)", cgroup.display())
            }
            Self::EndCgroup { cgroup, version: CgroupVersion::V2 } => {
                write!(f, "echo 1 > {}/cgroup.kill", cgroup.display())
            }
            Self::RemoveFile { path } => write!(f, "rm -f {}", path.display()),
            Self::RemoveCgroup { cgroup } => write!(f, "rmdir {}", cgroup.display()),
            Self::Run { argv, .. } => {
                let words: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
                f.write_str(&words.join(" "))
            }
            Self::HttpUnix { socket, method, path } => {
                write!(f, "curl --unix-socket {} -X {method} http://localhost{path}", socket.display())
            }
        }
    }
}

/// Signals every one, and reports the first refusal only after having tried them all. A refusal does not matter where
/// there is nothing to put back: whoever may not continue a process could not stop it either.
fn signal_all(
    processes: &[Process],
    signal: Signal,
    is_put_back: impl Fn(&Process) -> bool,
) -> io::Result<()> {
    let mut outcome = Ok(());
    for process in processes {
        let sent = process.signal(signal).map(drop);
        outcome = outcome.and(sent.or_else(|error| if is_put_back(process) { Ok(()) } else { Err(error) }));
        hooks::point("mid-revert");
    }
    outcome.map_err(io::Error::from)
}

fn is_stopped(process: &Process) -> bool {
    process.stat().is_some_and(|stat| stat.state == 'T')
}

const fn done_if(done: bool) -> Progress {
    if done { Progress::Done } else { Progress::Again }
}

/// For a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn pids(processes: &[Process]) -> String {
    processes.iter().map(Process::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
