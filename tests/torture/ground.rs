//! The cgroup of one cell. Whatever its programs start stays in it, however it detaches itself, so that nothing
//! escapes the observer, and all of it can be ended at once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use chaos_kitty_tests::process::wait_for;

/// That of all cells, below this process's own on the hierarchy of version 2.
static ALL: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = own_cgroup().join(format!("kitty-torture-{}", std::process::id()));
    fs::create_dir(&folder)
        .unwrap_or_else(|error| panic!("making {}: {error} (torture must be root)", folder.display()));
    folder
});

fn own_cgroup() -> PathBuf {
    let mounts = fs::read("/proc/self/mountinfo").unwrap();
    let mounts = String::from_utf8_lossy(&mounts);
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup2 is mounted");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("this process is in a cgroup");
    Path::new(mount.split(' ').nth(4).unwrap()).join(path.trim_start_matches('/'))
}

/// See the module. It ends with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
}

impl Ground {
    pub(crate) fn make(name: &str) -> Self {
        let folder = ALL.join(name);
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    /// The same program, to be started in here; `place`: in a cgroup of that name further below.
    pub(crate) fn enter(&self, command: &Command, place: Option<&str>) -> Command {
        let folder = place.map_or_else(|| self.folder.clone(), |place| self.folder.join(place));
        fs::create_dir_all(&folder).unwrap();
        let mut entering = Command::new("/bin/sh");
        entering.args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""]).arg(folder);
        entering.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            entering.current_dir(folder);
        }
        entering
    }

    /// Itself and all cgroups below it.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let mut found = vec![self.folder.clone()];
        let mut next = 0;
        while let Some(folder) = found.get(next).cloned() {
            next += 1;
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            found.extend(folders.map(|entry| entry.path()));
        }
        found
    }

    /// Whatever runs in here.
    pub(crate) fn pids(&self) -> Vec<u32> {
        pids(&self.groups())
    }
}

/// Whatever runs in these cgroups.
pub(crate) fn pids(groups: &[PathBuf]) -> Vec<u32> {
    let lists = groups.iter().filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    lists.flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether a cgroup stands still, or is told to.
pub(crate) fn is_frozen(group: &Path) -> bool {
    let told = fs::read_to_string(group.join("cgroup.freeze")).is_ok_and(|told| told.trim() == "1");
    told || fs::read_to_string(group.join("cgroup.events")).is_ok_and(|is| is.contains("frozen 1"))
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A frozen cgroup is killed as well, and what is killed may take a while to be gone.
        fs::write(self.folder.join("cgroup.kill"), "1").unwrap();
        wait_for("a cell's cgroup is empty", || self.pids().is_empty());
        for group in self.groups().iter().rev() {
            // Somebody who is ending may remove it as well.
            wait_for("a cell's cgroup is removed", || fs::remove_dir(group).is_ok() || !group.exists());
        }
    }
}

/// Removes what was made for all cells together.
pub(crate) fn clean_up() {
    wait_for("the cells' cgroup is removed", || fs::remove_dir(&*ALL).is_ok());
}
