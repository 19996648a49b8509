//! Takes a fault through its life as the executor does.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chaos_kitty::{
    Problem,
    v1::{self, action::Kind, action_result},
};
use chaos_kitty_agent::{
    action::{Arm, Fault, Step, fault_for},
    platform::Subject,
    stress::spawn::use_program,
};
use chaos_kitty_guard::{
    Process, Undo,
    clock::boot_time,
    message::{Reverted, Why},
    undo::Progress,
};

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

/// A fault in force. Put back when dropped.
pub(crate) struct Held {
    pub(crate) fault: Box<dyn Fault>,
    pub(crate) undos: Vec<Undo>,
    pub(crate) evidence: Vec<v1::Evidence>,
}

struct NoMore;

impl Arm for NoMore {
    fn rearm(&self, _undos: Vec<Undo>) -> Step<'_, ()> {
        unreachable!("these faults know their undos when they are prepared")
    }
}

/// Everything up to STARTED. What fails is put back.
pub(crate) async fn start(action: &v1::Action, subject: &Subject) -> Result<Held, Problem> {
    use_program(Path::new(env!("CARGO_BIN_EXE_kitty-agent")).to_owned());
    let mut fault = fault_for(action, subject)?;
    let prepared = fault.prepare().await?;
    let mut held = Held { fault, undos: prepared.undos, evidence: prepared.evidence };
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
        let reverted = Reverted { id: "test".into(), why: Why::Ordered, at, outcomes: Vec::new() };
        let after = self.fault.settle(&reverted).await.unwrap();
        self.evidence.extend(after);
        self.figures()
    }
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
