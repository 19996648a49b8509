//! Processes, each in a cgroup of version 2 of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use uuid::Uuid;

/// They end, and their cgroups with them, when dropped.
pub(super) struct Crowd {
    group: PathBuf,
    processes: Vec<Child>,
}

impl Crowd {
    pub(super) fn new() -> Self {
        let group = unified().join(format!("kitty-{}", Uuid::new_v4().simple()));
        fs::create_dir(&group).unwrap_or_else(|error| panic!("{}: {error}", group.display()));
        Self { group, processes: Vec::new() }
    }

    pub(super) fn size(&self) -> usize {
        self.processes.len()
    }

    /// Starts one more: the name of its cgroup, which looks as the id of a container, and its pid.
    pub(super) fn grow(&mut self) -> (String, u32) {
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let group = self.group.join(&id);
        fs::create_dir(&group).unwrap();
        let child = Command::new("/bin/busybox").args(["sleep", "600"]).stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        self.processes.push(child);
        fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
        (id, pid)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _gone_already = child.kill();
            child.wait().unwrap();
        }
        for entry in fs::read_dir(&self.group).into_iter().flatten().flatten() {
            let _not_a_group = fs::remove_dir(entry.path());
        }
        let _not_there = fs::remove_dir(&self.group);
    }
}

/// Where cgroup version 2 is mounted.
fn unified() -> PathBuf {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let mounts = String::from_utf8_lossy(&mounts);
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup version 2 is mounted");
    PathBuf::from(mount.split(' ').nth(4).unwrap())
}
