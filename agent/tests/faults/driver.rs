//! Takes a fault through its life as the executor does.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

use chaos_kitty::{
    Problem,
    script::hash,
    v1::{self, action::Kind, action_result},
};
use chaos_kitty_agent::{
    action::{Arm, Fault, Scripts, Step, fault_for},
    platform::Subject,
    stress::spawn::use_program,
};
use chaos_kitty_guard::{
    Process, Undo,
    clock::boot_time,
    message::{Reverted, Why},
    undo::Progress,
};
use futures_util::FutureExt as _;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process under test. Killed when dropped.
pub(crate) struct Target(pub(crate) Child);

impl Target {
    pub(crate) fn sleeper() -> Self {
        Self::start(Command::new("sleep").arg("600"))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.process_group(0).spawn().unwrap())
    }

    pub(crate) fn process(&self) -> Process {
        Process::now(self.0.id()).unwrap()
    }

    pub(crate) fn subject(&self) -> Subject {
        subject(self.process())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn subject(main: Process) -> Subject {
    let target = v1::Target {
        id: format!("process/test/{main}"),
        platform_type: "ProcessPlatform".into(),
        pids: vec![main.pid],
        ..Default::default()
    };
    Subject { target, main: Some(main), ..Subject::default() }
}

pub(crate) fn host() -> Subject {
    let target =
        v1::Target { id: "host/test".into(), platform_type: "HostPlatform".into(), ..Default::default() };
    Subject { target, ..Subject::default() }
}

pub(crate) fn action(kind: Kind, duration: Duration) -> v1::Action {
    let duration = (!duration.is_zero()).then(|| duration.into());
    v1::Action { duration, kind: Some(kind) }
}

static SCRIPTS: LazyLock<Mutex<Scripts>> = LazyLock::new(Mutex::default);

/// The order to run a script of this content, which is handed over as the server does. It has nothing to put back but
/// itself.
pub(crate) fn script(content: &str, arguments: &[&str]) -> v1::RunScript {
    const REMEDY: &str = "# Health check: true\n# Self healing: true\n";
    let (first, rest) =
        content.split_once('\n').filter(|_| content.starts_with("#!")).unwrap_or(("#", content));
    script_as_it_is(&format!("{first}\n{REMEDY}{rest}"), arguments)
}

/// The order to run a script of exactly this content.
pub(crate) fn script_as_it_is(content: &str, arguments: &[&str]) -> v1::RunScript {
    let (hash, content) = (hash(content.as_bytes()), content.as_bytes().to_vec().into());
    SCRIPTS.lock().unwrap().keep(v1::ScriptContent { hash: hash.clone(), content }).unwrap();
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    v1::RunScript { name: "test.sh".into(), arguments, hash }
}

/// A fault in force. Put back when dropped.
pub(crate) struct Held {
    pub(crate) fault: Box<dyn Fault>,
    pub(crate) undos: Vec<Undo>,
    pub(crate) evidence: Vec<v1::Evidence>,
}

struct NoMore;

impl Arm for NoMore {
    fn rearm(&self, _undos: Vec<Undo>) -> Step<'_, ()> {
        // What was known before is carried out all the same: it may be done at any time.
        std::future::ready(Ok(())).boxed()
    }
}

/// Before anything of it was done.
pub(crate) fn fault(action: &v1::Action, subject: &Subject) -> Result<Box<dyn Fault>, Problem> {
    use_program(Path::new(env!("CARGO_BIN_EXE_kitty-agent")).to_owned());
    fault_for(action, subject, &SCRIPTS.lock().unwrap())
}

/// Everything before its injection.
pub(crate) async fn prepare(action: &v1::Action, subject: &Subject) -> Result<Held, Problem> {
    let mut fault = fault(action, subject)?;
    let prepared = fault.prepare().await?;
    Ok(Held { fault, undos: prepared.undos, evidence: prepared.evidence })
}

/// Everything up to STARTED. What fails is put back.
pub(crate) async fn start(action: &v1::Action, subject: &Subject) -> Result<Held, Problem> {
    let mut held = prepare(action, subject).await?;
    held.fault.inject(&NoMore).await?;
    let evidence = held.fault.verify().await?;
    held.evidence.extend(evidence);
    Ok(held)
}

impl Held {
    pub(crate) fn figures(&self) -> action_result::Kind {
        self.fault.figures().unwrap()
    }

    /// The processes that its undos would end.
    pub(crate) fn stressors(&self) -> Vec<Process> {
        let all = self.undos.iter().filter_map(|undo| match undo {
            Undo::EndProcesses { processes } => Some(processes.clone()),
            _ => None,
        });
        all.flatten().collect()
    }

    /// Puts it back, and waits until that is seen.
    pub(crate) async fn revert(mut self) -> action_result::Kind {
        let at = boot_time();
        carry_out(&self.undos);
        let reverted = Reverted {
            id: "test".into(),
            why: Why::Ordered,
            began: at,
            at,
            settled: true,
            outcomes: Vec::new(),
        };
        let after = self.fault.settle(&reverted).await.unwrap();
        self.evidence.extend(after);
        self.figures()
    }
}

/// The cgroup of a script.
pub(crate) fn cgroup(held: &Held) -> PathBuf {
    let found = held.undos.iter().find_map(|undo| match undo {
        Undo::EndCgroup { cgroup, .. } => Some(cgroup.clone()),
        _ => None,
    });
    found.unwrap()
}

/// The processes in it.
pub(crate) fn members(held: &Held) -> Vec<Process> {
    let procs = std::fs::read_to_string(cgroup(held).join("cgroup.procs")).unwrap();
    procs.lines().filter_map(|pid| Process::now(pid.parse().unwrap())).collect()
}

impl Drop for Held {
    fn drop(&mut self) {
        carry_out(&self.undos);
    }
}

fn carry_out(undos: &[Undo]) {
    for undo in undos {
        eventually(&undo.to_string(), || matches!(undo.step(), Ok(Progress::Done)));
    }
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
