//! A booted systemd of the test's own: a container with a small Debian in it, whose changes live in memory.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use chaos_kitty::procfs::field;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    Finished, Sandbox, eventually,
    process::{Process, all_pids, children},
    sandbox::built,
};

/// The variable that names the tree that `tests/beds/systemd` made.
const TREE: &str = "KITTY_TEST_SYSTEMD_TREE";

/// Where the project's programs are found inside.
pub const PROGRAMS: &str = "/opt/chaos-kitty";

/// systemd-nspawn puts every container that no service manager looks after into the same cgroup.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A booted machine. It is ended, and its cgroups removed, when dropped.
pub struct Booted {
    init: u32,
    supervisor: Process,
    _turn: MutexGuard<'static, ()>,
}

impl Booted {
    /// Boots. The sandbox's folder is `/shared` inside.
    ///
    /// # Panics
    /// There is no tree (tests/run makes it), or it does not boot.
    pub async fn new(sandbox: &Sandbox) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let tree = env::var(TREE).unwrap_or_else(|_| panic!("{TREE} is not set: tests/run makes the tree"));
        let programs = built("kittyd").parent().map(Path::to_owned).unwrap_or_default();
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--boot", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit"])
            .args(["--console=pipe", "--directory", &tree])
            .arg(format!("--machine=kitty-{}", std::process::id()))
            .arg(format!("--bind-ro={}:{PROGRAMS}", programs.display()))
            .arg(format!("--bind={}:/shared", sandbox.path().display()));
        let supervisor = Process::start("systemd-nspawn", command, sandbox.path());
        let init = eventually("the machine has an init", async || {
            children(supervisor.pid()).into_iter().find(|pid| is_an_init(*pid))
        });
        let mut booted = Self { init: init.await, supervisor, _turn: turn };
        eventually("the machine is up", async || {
            assert!(booted.supervisor.is_running(), "it does not boot:\n{}", booted.supervisor.stdout());
            let state = booted.run(&["systemctl", "is-system-running"]).stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        })
        .await;
        booted
    }

    /// Runs a program inside, outside of any unit.
    pub fn run(&self, argv: &[&str]) -> Finished {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.init.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--",
        ]);
        command.args(argv).env_clear().env("PATH", format!("{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"));
        let output = command.output().unwrap();
        output.into()
    }

    /// The same; it must exit with 0.
    ///
    /// # Panics
    /// It does not.
    pub fn must(&self, argv: &[&str]) -> String {
        let finished = self.run(argv);
        assert_eq!(finished.code, 0, "{argv:?}: {finished}");
        finished.stdout
    }

    /// Installs a unit from its text.
    pub fn install_unit(&self, name: &str, text: &str) {
        fs::write(self.path(&format!("/etc/systemd/system/{name}")), text).unwrap();
        self.must(&["systemctl", "daemon-reload"]);
    }

    /// A property of a unit, as `systemctl show` tells it.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.must(&["systemctl", "show", "--value", "--property", property, unit]).trim().to_owned()
    }

    /// Adds settings to a unit that is installed.
    pub fn drop_in(&self, unit: &str, text: &str) {
        let folder = self.path(&format!("/etc/systemd/system/{unit}.d"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("test.conf"), text).unwrap();
        self.must(&["systemctl", "daemon-reload"]);
    }

    /// Pids, as seen from here, of all that runs inside.
    pub fn pids(&self) -> Vec<u32> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.init);
        all_pids().filter(|pid| own.is_some() && namespace(*pid) == own).collect()
    }

    /// What lies at a path inside, as seen from here.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// Shuts the machine down in order, as its owner would.
    pub async fn power_off(mut self) {
        self.run(&["systemctl", "poweroff"]);
        self.supervisor.ended().await;
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The end of its init is the end of the whole pid namespace.
        if let Some(init) = rustix::process::Pid::from_raw(self.init.cast_signed())
            && children(self.supervisor.pid()).contains(&self.init)
        {
            let _gone_already = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        }
        crate::process::wait_for("the machine is gone", || !self.supervisor.is_running());
        for hierarchy in ["unified", "systemd", ""] {
            for group in ["payload", "supervisor"] {
                remove_groups(&Path::new("/sys/fs/cgroup").join(hierarchy).join(group));
            }
        }
    }
}

/// Whether a process is the first of a pid namespace. The supervisor has other children at its start.
fn is_an_init(pid: u32) -> bool {
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = field(&status, "NSpid").unwrap_or_default();
    pids.split_whitespace().skip(1).last() == Some("1")
}

/// Removes an empty cgroup with those below it.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _not_there = fs::remove_dir(group);
}
