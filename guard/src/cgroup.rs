//! Putting cgroups back: thaw, end, remove. A cgroup that is not there counts as done.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    Process,
    undo::{CgroupVersion, Progress, done_if},
};

/// Longest wait for a cgroup to freeze before its processes are listed. A step never blocks for longer.
const FREEZING: Duration = Duration::from_millis(20);

/// Asks a frozen cgroup to go on, and says whether it does.
pub(crate) fn thaw(cgroup: &Path, version: CgroupVersion) -> io::Result<Progress> {
    gone_is_done(match version {
        CgroupVersion::V1 => write(cgroup, "freezer.state", "THAWED").and_then(|()| {
            // An ancestor may be frozen by somebody else; what we did is undone all the same.
            read(cgroup, "freezer.self_freezing").map(|own| done_if(own.trim() == "0"))
        }),
        CgroupVersion::V2 => write(cgroup, "cgroup.freeze", "0")
            .and_then(|()| read(cgroup, "cgroup.freeze"))
            .map(|own| done_if(own.trim() == "0")),
    })
}

/// Kills everything in a cgroup and below it, and says whether it is empty.
pub(crate) fn end(cgroup: &Path, version: CgroupVersion) -> io::Result<Progress> {
    gone_is_done(match version {
        CgroupVersion::V1 => end_frozen(cgroup),
        CgroupVersion::V2 => match write(cgroup, "cgroup.kill", "1") {
            // Before Linux 5.14.
            Err(error) if error.kind() == io::ErrorKind::NotFound && cgroup.exists() => kill_all(cgroup),
            other => other,
        },
    })?;
    gone_is_done(members(cgroup).map(|left| done_if(left.is_empty())))
}

/// Removes a cgroup and those below it, deepest first. Occupied: again.
pub(crate) fn remove(cgroup: &Path) -> io::Result<Progress> {
    for folder in folders(cgroup)?.iter().rev() {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Ok(Progress::Again),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Progress::Done)
}

/// Version 1 has no way to kill a cgroup at once: frozen it can not fork away from the killing, and its
/// processes die when it is thawed.
fn end_frozen(cgroup: &Path) -> io::Result<()> {
    write(cgroup, "freezer.state", "FROZEN")?;
    // Until then somebody may fork. What hangs in the kernel never freezes: it is not waited for.
    let began = Instant::now();
    while read(cgroup, "freezer.state")?.trim() != "FROZEN" && began.elapsed() < FREEZING {
        thread::yield_now();
    }
    let killed = kill_all(cgroup);
    write(cgroup, "freezer.state", "THAWED")?;
    killed
}

fn kill_all(cgroup: &Path) -> io::Result<()> {
    for process in members(cgroup)? {
        process.signal(Signal::KILL)?;
    }
    Ok(())
}

/// Every process in a cgroup and below it that has not ended.
fn members(cgroup: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for folder in folders(cgroup)? {
        let listed = match read(&folder, "cgroup.procs") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let listed = listed.lines().filter_map(|pid| Process::now(pid.parse().ok()?));
        found.extend(listed.filter(|process| !process.has_ended()));
    }
    Ok(found)
}

/// A cgroup and all below it, parents first. None where it is gone.
fn folders(cgroup: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![cgroup.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        found.extend(
            entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    Ok(found)
}

fn gone_is_done<T: From<Gone>>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) || is_removed(&error) => {
            Ok(Gone.into())
        }
        other => other,
    }
}

/// What is written to a cgroup that is being removed meanwhile fails with ENODEV.
fn is_removed(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

struct Gone;

impl From<Gone> for Progress {
    fn from(_: Gone) -> Self {
        Self::Done
    }
}

impl From<Gone> for () {
    fn from(_: Gone) {}
}

fn write(cgroup: &Path, file: &str, value: &str) -> io::Result<()> {
    // Without O_CREAT, so that a cgroup that is gone is told from one that is not.
    fs::OpenOptions::new()
        .write(true)
        .open(cgroup.join(file))
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
}

fn read(cgroup: &Path, file: &str) -> io::Result<String> {
    fs::read_to_string(cgroup.join(file))
}
