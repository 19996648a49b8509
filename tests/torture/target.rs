//! What is hurt: processes under names of their own.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use chaos_kitty::v1::{self, RunScript, SpinCpu, action::Kind};
use chaos_kitty_tests::process::{Process, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::observer::descendants;

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Delay,
    Memory,
    Cpu,
    Script,
}

impl What {
    pub(crate) const ALL: [Self; 4] = [Self::Delay, Self::Memory, Self::Cpu, Self::Script];

    /// The action, held for this long.
    pub(crate) fn action(self, duration: Duration) -> v1::Action {
        let kind = match self {
            Self::Delay => Kind::Delay(v1::Delay::default()),
            Self::Memory => Kind::Memory(v1::AllocateMemory { size_bytes: 16 << 20 }),
            Self::Cpu => Kind::Cpu(SpinCpu { cores: 1, load: 2 }),
            Self::Script => Kind::Script(RunScript { name: "cpuBurn.sh".into(), ..Default::default() }),
        };
        v1::Action { duration: Some(duration.into()), kind: Some(kind) }
    }

    const fn letter(self) -> char {
        match self {
            Self::Delay => 'd',
            Self::Memory => 'm',
            Self::Cpu => 'c',
            Self::Script => 's',
        }
    }
}

/// A tree of three processes that one kind of action hurts.
pub(crate) struct Target {
    pub(crate) what: What,
    /// The name of the process, and of the rule that finds it.
    pub(crate) name: String,
    pub(crate) process: Process,
}

impl Target {
    /// `cell` makes its name: at most 12 characters.
    pub(crate) fn start(folder: &Path, cell: &str, what: What) -> Self {
        let name = format!("{cell}-{}", what.letter());
        let program = folder.join(&name);
        // A link: a copy could still be open for writing in another thread's child.
        symlink("/bin/sh", &program).unwrap();
        let mut command = Command::new(&program);
        command.args(["-c", "/bin/sleep 900 & /bin/sleep 900 & wait"]).process_group(0);
        let process = Process::start(&name, command, folder);
        if what == What::Script {
            LEASH.take_in(process.pid());
        }
        let target = Self { what, name, process };
        wait_for("the tree has grown", || target.pids().len() == 3);
        target
    }

    /// All of the tree.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let children = descendants(self.process.pid(), Duration::from_millis(100));
        children.iter().map(|child| child.pid).chain([self.process.pid()]).collect()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.process.pid().try_into().unwrap()).unwrap();
        let _gone_already = kill_process_group(group, Signal::KILL);
    }
}

/// A cgroup in which the scripts of all cells together get little processor time, or nothing else would.
struct Leash(Option<PathBuf>);

static LEASH: LazyLock<Leash> = LazyLock::new(Leash::make);

impl Leash {
    /// `None`: no such hierarchy; then the scripts burn what they like.
    fn make() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let cpu = own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == "cpu").then(|| path.to_owned())
        });
        Self(cpu.and_then(|path| {
            let folder = Path::new("/sys/fs/cgroup/cpu")
                .join(path.trim_start_matches('/'))
                .join(format!("kitty-torture-{}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            fs::write(folder.join("cpu.cfs_period_us"), "20000").ok()?;
            fs::write(folder.join("cpu.cfs_quota_us"), "6000").ok()?;
            Some(folder)
        }))
    }

    fn take_in(&self, pid: u32) {
        if let Some(folder) = &self.0 {
            fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }
}

/// Removes what was made for all cells together.
pub(crate) fn clean_up() {
    if let Some(folder) = &LEASH.0 {
        wait_for("the scripts' cgroup is empty", || fs::remove_dir(folder).is_ok());
    }
}
