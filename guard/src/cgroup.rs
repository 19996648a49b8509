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
    undo::{CgroupVersion, Progress},
};

/// Longest wait for a cgroup to freeze before its processes are listed. A step never blocks for longer.
const FREEZING: Duration = Duration::from_millis(20);

/// Asks a frozen cgroup to go on, and says whether it does. A refusal does not matter where it is not frozen.
pub(crate) fn thaw(cgroup: &Path, version: CgroupVersion) -> io::Result<Progress> {
    let (asked, own) = match version {
        // An ancestor may be frozen by somebody else; what we did is undone all the same.
        CgroupVersion::V1 => (write(cgroup, "freezer.state", "THAWED"), "freezer.self_freezing"),
        CgroupVersion::V2 => (write(cgroup, "cgroup.freeze", "0"), "cgroup.freeze"),
    };
    match read(cgroup, own) {
        Ok(own) if own.trim() == "0" => Ok(Progress::Done),
        Ok(_) => or_gone(asked).map(|()| Progress::Again),
        Err(error) => or_gone(Err(error)).map(|()| Progress::Done),
    }
}

/// Kills everything in a cgroup and below it, and says whether it is empty. A refusal does not matter where it is.
pub(crate) fn end(cgroup: &Path, version: CgroupVersion) -> io::Result<Progress> {
    let killed = match version {
        CgroupVersion::V1 => end_frozen(cgroup),
        CgroupVersion::V2 => match write(cgroup, "cgroup.kill", "1") {
            // Before Linux 5.14.
            Err(error) if error.kind() == io::ErrorKind::NotFound && cgroup.exists() => kill_all(cgroup),
            other => other,
        },
    };
    match is_empty(cgroup) {
        Ok(true) => Ok(Progress::Done),
        Ok(false) => or_gone(killed).map(|()| Progress::Again),
        Err(error) => or_gone(Err(error)).map(|()| Progress::Done),
    }
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

/// One that cannot be looked at, or refuses, does not keep the others.
fn kill_all(cgroup: &Path) -> io::Result<()> {
    let kill = |pid| -> io::Result<()> {
        if let Some(process) = Process::find(pid)? {
            process.signal(Signal::KILL)?;
        }
        Ok(())
    };
    let mut outcome = Ok(());
    for pid in pids(cgroup)? {
        outcome = outcome.and(kill(pid));
    }
    outcome
}

fn is_empty(cgroup: &Path) -> io::Result<bool> {
    for pid in pids(cgroup)? {
        if Process::find(pid)?.is_some_and(|process| !process.has_ended()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Every process in a cgroup and below it.
fn pids(cgroup: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for folder in folders(cgroup)? {
        let listed = match read(&folder, "cgroup.procs") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for pid in listed.lines() {
            found.push(pid.parse().map_err(io::Error::other)?);
        }
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
        for entry in entries {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// What is gone needs nothing. What is written to a cgroup that is being removed meanwhile fails with ENODEV.
fn or_gone(result: io::Result<()>) -> io::Result<()> {
    let is_removed =
        |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound || is_removed(&error) => Ok(()),
        other => other,
    }
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
