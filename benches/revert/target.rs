//! Processes to be hurt, and their cgroups.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use chaos_kitty_tests::{Sandbox, process};

/// A process of a name of its own. Killed when dropped.
pub(crate) struct Target(Child);

impl Target {
    /// One that keeps a core busy.
    pub(crate) fn busy(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, "load", "/bin/sh", &["-c", "while :; do :; done"])
    }

    /// One that does nothing.
    pub(crate) fn idle(sandbox: &Sandbox, name: &str) -> Self {
        Self::start(sandbox, name, "/bin/sleep", &["3600"])
    }

    fn start(sandbox: &Sandbox, name: &str, real: &str, arguments: &[&str]) -> Self {
        let program = sandbox.path().join(name);
        if !program.exists() {
            fs::copy(real, &program).unwrap();
        }
        Self(Command::new(program).args(arguments).stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A cgroup of a target's own. Removed when dropped.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) fn of(target: &Target) -> Self {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists() && root.join("cgroup.controllers").exists());
        let folder = root.expect("cgroups of version 2").join(format!("kitty-bench-{}", target.pid()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), target.pid().to_string()).unwrap();
        Self(folder)
    }

    pub(crate) fn is_thawed(&self) -> impl Fn() -> bool + Send + use<> {
        let freeze = self.0.join("cgroup.freeze");
        move || fs::read_to_string(&freeze).unwrap().trim() == "0"
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        process::wait_for("the cgroup is empty", || fs::remove_dir(&self.0).is_ok());
    }
}
