//! What is hurt: processes under names of their own, and a service that carries the worker SDK.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command, time::Duration};

use chaos_kitty::v1::{self, RaiseError, RunScript, SpinCpu, action::Kind};
use chaos_kitty_tests::{Sandbox, eventually, http, process::Process};
use tokio::time::timeout;

use crate::ground::Ground;

/// A worker that nothing is in force in has answered a request by then.
const ANSWER: Duration = Duration::from_secs(1);

/// What is done to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Delay,
    Memory,
    Cpu,
    Script,
    /// A delay by the cgroup freezer, of a target that owns its cgroup.
    Freeze,
    WorkerDelay,
    WorkerMemory,
    WorkerError,
}

impl What {
    /// Those that hurt processes from outside.
    pub(crate) const OUTSIDE: [Self; 5] = [Self::Delay, Self::Memory, Self::Cpu, Self::Script, Self::Freeze];

    /// Those that a worker holds itself.
    pub(crate) const INSIDE: [Self; 3] = [Self::WorkerDelay, Self::WorkerMemory, Self::WorkerError];

    /// The action, held for this long.
    pub(crate) fn action(self, duration: Duration) -> v1::Action {
        let kind = match self {
            Self::Delay | Self::Freeze | Self::WorkerDelay => Kind::Delay(v1::Delay::default()),
            Self::Memory => Kind::Memory(v1::AllocateMemory { size_bytes: 16 << 20 }),
            Self::WorkerMemory => Kind::Memory(v1::AllocateMemory { size_bytes: 48 << 20 }),
            Self::Cpu => Kind::Cpu(SpinCpu { cores: 1, load: 2 }),
            Self::Script => Kind::Script(RunScript { name: "linger.sh".into(), ..Default::default() }),
            Self::WorkerError => Kind::Error(RaiseError::default()),
        };
        v1::Action { duration: Some(duration.into()), kind: Some(kind) }
    }

    pub(crate) const fn is_inside(self) -> bool {
        matches!(self, Self::WorkerDelay | Self::WorkerMemory | Self::WorkerError)
    }

    const fn letter(self) -> char {
        match self {
            Self::Delay => 'd',
            Self::Memory => 'm',
            Self::Cpu => 'c',
            Self::Script => 's',
            Self::Freeze => 'f',
            Self::WorkerDelay | Self::WorkerMemory | Self::WorkerError => 'w',
        }
    }
}

/// A process, for a delay a tree of three, that one kind of action hurts.
pub(crate) struct Target {
    pub(crate) what: What,
    /// The name of the process, and of the rule that finds it.
    pub(crate) name: String,
    pub(crate) process: Process,
}

impl Target {
    /// `cell` makes its name: at most 12 characters.
    pub(crate) fn start(ground: &Ground, folder: &Path, cell: &str, what: What) -> Self {
        let name = format!("{cell}-{}", what.letter());
        let program = folder.join(&name);
        let mut command = Command::new(&program);
        command.current_dir(folder);
        // A link: a copy could still be open for writing in another thread's child.
        if what == What::Delay {
            symlink("/bin/sh", &program).unwrap();
            command.args(["-c", "/bin/sleep 900 & /bin/sleep 900 & wait"]);
        } else {
            symlink("/bin/sleep", &program).unwrap();
            command.arg("900");
        }
        let place = (what == What::Freeze).then_some("frozen");
        let process = Process::start(&name, ground.enter(&command, place), folder);
        Self { what, name, process }
    }
}

/// The example service.
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) name: String,
    /// `127.0.0.1:PORT` of its HTTP side.
    address: String,
}

impl Worker {
    /// Starts it, attached to an agent's socket or the server's.
    pub(crate) async fn start(ground: &Ground, sandbox: &Sandbox, cell: &str, attach_to: &str) -> Self {
        let name = format!("{cell}-w");
        let mut command = sandbox.command("shop");
        command.args(["--server", attach_to, "--name", &name, "--group", &name]);
        // What an earlier one said is not this one's.
        let _none_yet = fs::remove_file(sandbox.path().join(format!("{name}.out")));
        let process = Process::start(&name, ground.enter(&command, None), sandbox.path());
        let address = eventually("the worker says where it listens", async || {
            let out = process.stdout();
            out.lines().find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
        })
        .await;
        Self { process, name, address }
    }

    /// Whether it does its work.
    pub(crate) async fn is_well(&self) -> bool {
        let answer = timeout(ANSWER, http::request(&self.address, "GET", "/", &[], "")).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|(status, _)| status == 200))
    }
}
