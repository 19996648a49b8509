//! Where a child program runs: inside the namespaces of a target. A place outlives its target, since what was done in
//! it may have to be undone there: as long as a namespace has processes, or is mounted somewhere, there is a way in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsFd,
};

use chaos_kitty::procfs::lines;
use chaos_kitty_guard::Process;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::{chroot, fchdir},
    thread::{
        LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
    },
};
use serde::{Deserialize, Serialize};

use super::folder;
use crate::host::{boot_id, membership, process::pids};

/// Namespaces by their names in `/proc/PID/ns`.
const NAMESPACES: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("net", ThreadNameSpaceType::NETWORK),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The main process. `None`: the host itself.
    target: Option<Process>,
    /// Of the host's boot, where the numbers below mean something.
    boot: String,
    /// The target's namespaces that are not the agent's, by name: the numbers of `/proc/PID/ns`.
    apart: BTreeMap<String, String>,
    /// It is the agent's own side of the target.
    outside: bool,
    /// The name of a script's own folder there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
}

/// What came of the way into a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// This process is there.
    There,
    /// It has gone, and everything in it.
    Gone,
}

impl Place {
    /// Of a target that is there (`None`: of the host), inside or beside it.
    ///
    /// # Errors
    /// It is gone, or can not be looked into.
    pub(crate) fn of(target: Option<Process>, outside: bool) -> io::Result<Self> {
        let mut apart = BTreeMap::new();
        if let Some(target) = target {
            for (name, _) in NAMESPACES {
                let theirs = namespace(target.pid, name)?;
                if theirs != namespace(std::process::id(), name)? {
                    apart.insert(name.to_owned(), theirs);
                }
            }
            if !target.exists() {
                return Err(gone());
            }
        }
        Ok(Self { target, boot: boot_id(), apart, outside, folder: None })
    }

    /// The same, where a script has a folder of its own.
    pub(crate) fn with_folder(self) -> Self {
        Self { folder: Some(folder::name()), ..self }
    }

    pub(super) fn folder(&self) -> Option<&str> {
        self.folder.as_deref()
    }

    /// The target, as long as it lives.
    pub(crate) fn live(&self) -> Option<Process> {
        self.target.filter(|target| self.boot == boot_id() && !target.has_ended())
    }

    /// For the command line of a child.
    pub(crate) fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    pub(super) fn parse(text: &str) -> io::Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// What programs there are told of it.
    pub(super) fn environment(&self) -> [(&'static str, String); 4] {
        let name =
            self.target.map_or("host".to_owned(), |target| format!("{}-{}", target.pid, target.start_time));
        let apart: Vec<_> = self.apart.keys().map(String::as_str).collect();
        [
            ("PATH", PATH.to_owned()),
            // As the agent sees it; empty once it is another's.
            ("KITTY_TARGET_PID", self.live().map(|target| target.pid.to_string()).unwrap_or_default()),
            // For names of files: no two targets have the same, and it stays when the target has ended.
            ("KITTY_TARGET", name),
            ("KITTY_NAMESPACES", apart.join(" ")),
        ]
    }

    /// Moves this process there.
    pub(super) fn enter(&self) -> io::Result<Entered> {
        let Some(target) = self.target.filter(|_| !self.outside) else { return Ok(Entered::There) };
        if self.live().is_some() {
            return enter(target, true).map(|()| Entered::There);
        }
        if self.apart.is_empty() {
            return Ok(Entered::There);
        }
        if self.boot != boot_id() {
            return Ok(Entered::Gone);
        }
        if let Some(companion) = self.companion()? {
            return enter(companion, false).map(|()| Entered::There);
        }
        match self.apart.get("net").map(|net| mounted(net)).transpose()?.flatten() {
            Some(file) => {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(Entered::There)
            }
            None => Ok(Entered::Gone),
        }
    }

    /// Another process in the same namespaces.
    fn companion(&self) -> io::Result<Option<Process>> {
        let shares = |pid: &u32| {
            self.apart
                .iter()
                .all(|(name, number)| namespace(*pid, name).is_ok_and(|theirs| theirs == *number))
        };
        let found = pids()?.into_iter().filter(shares).filter_map(Process::now);
        Ok(found.into_iter().find(|process| !process.has_ended()))
    }
}

fn namespace(pid: u32, name: &str) -> io::Result<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{name}"))?;
    Ok(link.to_string_lossy().into_owned())
}

/// A file that keeps a namespace, such as `ip netns` makes.
fn mounted(namespace: &str) -> io::Result<Option<File>> {
    let mounts = fs::read("/proc/self/mountinfo")?;
    let mut fields = lines(&mounts).map(|line| line.split(|byte| *byte == b' ').skip(3));
    let place =
        fields.find_map(|mut fields| (fields.next()? == namespace.as_bytes()).then(|| fields.next())?);
    place.map(|place| File::open(membership::path(place))).transpose()
}

/// Moves into every namespace of a process that is not this one's, and to its root where that is wanted.
fn enter(process: Process, root: bool) -> io::Result<()> {
    let pid = process.pid;
    let pidfd = process.open()?.ok_or_else(gone)?;
    let mut others = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        if namespace(pid, name)? != namespace(std::process::id(), name)? {
            others |= kind;
        }
    }
    let folder = openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if !others.is_empty() {
        move_into_thread_name_spaces(pidfd.as_fd(), others)?;
    }
    if !root {
        return Ok(());
    }
    fchdir(&folder)?;
    let (here, there) = (rustix::fs::stat("/")?, rustix::fs::fstat(&folder)?);
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
        chroot(c".")?;
    }
    Ok(())
}

fn gone() -> io::Error {
    io::Error::other("the target is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let here = Process::now(std::process::id());
        for place in [Place::of(None, false).unwrap(), Place::of(here, true).unwrap()] {
            assert_eq!(Place::parse(&place.text().unwrap()).unwrap(), place);
        }
    }

    #[test]
    fn the_pid_of_a_target_that_has_ended_is_told_to_nobody() {
        let here = Process::now(std::process::id()).unwrap();
        let value = |place: &Place, name: &str| {
            place.environment().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value).unwrap()
        };
        let place = Place::of(Some(here), false).unwrap();
        assert_eq!(value(&place, "KITTY_TARGET_PID"), here.pid.to_string());
        let name = value(&place, "KITTY_TARGET");
        let earlier = Process { start_time: here.start_time - 1, ..here };
        let over = Place { target: Some(earlier), ..place.clone() };
        assert_eq!(value(&over, "KITTY_TARGET_PID"), "");
        assert_ne!(value(&over, "KITTY_TARGET"), name);
        let rebooted = Place { boot: "another".to_owned(), ..place };
        assert_eq!(
            (value(&rebooted, "KITTY_TARGET_PID"), value(&rebooted, "KITTY_TARGET")),
            (String::new(), name)
        );
    }

    #[test]
    fn namespaces_of_an_earlier_boot_are_gone_and_the_hosts_own_are_not() {
        let place = Place::of(Process::now(std::process::id()), false).unwrap();
        let rebooted = Place { boot: "another".to_owned(), ..place };
        assert_eq!(rebooted.enter().unwrap(), Entered::There);
        let apart = BTreeMap::from([("net".to_owned(), "net:[1]".to_owned())]);
        assert_eq!(Place { apart: apart.clone(), ..rebooted.clone() }.enter().unwrap(), Entered::Gone);
        // In this boot too, when nobody has them any more.
        let over = Process { pid: std::process::id(), start_time: 1 };
        let over = Place { target: Some(over), boot: boot_id(), apart, outside: false, folder: None };
        assert_eq!(over.enter().unwrap(), Entered::Gone);
    }
}
