//! A signal to the target's main process, or to its whole tree: from the host, or through whoever runs it. Holds
//! nothing.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    signal,
    v1::{self, KillResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::message::Reverted;
use futures_util::future::FutureExt;
use rustix::process::Signal;
use tokio::time::timeout;

use super::{Arm, Fault, Prepared, Resource, Step, evidence, unsupported};
use crate::{
    host::{
        cgroup::{Extent, Freezer},
        process::{self, Process},
    },
    platform::{Subject, supervisor::Supervisor, support},
};

/// How long it is looked whether the main process ends.
const LOOK: Duration = Duration::from_secs(1);

/// Signals that make a process stand still, which is another action's.
const STOPPING: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// See the module.
pub(super) struct Kill {
    extent: Extent,
    signal: signal::Signal,
    tree: bool,
    /// Who sends the signal. `None`: we do.
    through: Option<Arc<dyn Supervisor>>,
    hit: Vec<Process>,
    ended: bool,
}

impl Kill {
    pub(super) fn new(kill: &v1::Kill, subject: &Subject) -> Result<Self, Problem> {
        let extent = subject.extent().ok_or_else(|| {
            unsupported(subject, "kill").hint("kill a process, a worker or a container instead")
        })?;
        let signal = signal::Signal::parse("action.kill.signal", &kill.signal)?;
        if STOPPING.iter().any(|stopping| stopping.as_raw() == signal.number) {
            return Err(Problem::invalid(
                "action.kill.signal",
                format_args!("{} makes the target stand still, and nothing would continue it", signal.name),
            )
            .hint("use delay, which puts it back: kittyctl unleash delay --duration 10s"));
        }
        let through = support::kills_through_supervisor(&subject.target.platform_type, kill)?;
        let through = through.then(|| super::supervisor(subject, "kill")).transpose()?;
        Ok(Self { extent, signal, tree: kill.tree, through, hit: Vec::new(), ended: false })
    }

    fn targets(&self) -> Result<Vec<Process>, Problem> {
        if self.tree { super::whole(&self.extent) } else { Ok(vec![self.extent.main]) }
    }

    /// A frozen process never sees the signal (version 1), or sees it when it is thawed (version 2).
    fn thaw(&self) -> Result<(), Problem> {
        for cgroup in super::freezers(&self.extent)? {
            if cgroup.freezer().is_ok_and(|freezer| freezer == Freezer::Thawed) {
                continue;
            }
            cgroup.thaw().step().map_err(|error| {
                Problem::internal(format!("thawing {} before the kill: {error}", cgroup.folder.display()))
            })?;
        }
        Ok(())
    }

    /// Whether the signal does nothing to any of them: an end is not to be expected then.
    fn is_ignored(&self, targets: &[Process]) -> bool {
        let signal = Signal::from_named_raw(self.signal.number);
        signal.is_some_and(|signal| targets.iter().all(|process| process::ignores(*process, signal)))
    }

    async fn strike(&mut self) -> Result<Duration, Problem> {
        let targets = self.targets()?;
        self.thaw()?;
        let at = boot_time();
        match self.through.clone() {
            Some(supervisor) => {
                supervisor.kill(self.signal, self.tree).await?;
                self.hit = targets;
            }
            None => self.signal_all(targets)?,
        }
        if self.hit.is_empty() {
            return Err(Problem::new(
                Code::TargetGone,
                format!("process {} ended before the signal", self.extent.main),
            ));
        }
        Ok(at)
    }

    fn signal_all(&mut self, targets: Vec<Process>) -> Result<(), Problem> {
        let name = self.signal.name;
        let signal = Signal::from_named_raw(self.signal.number)
            .ok_or_else(|| Problem::invalid("action.kill.signal", format_args!("{name} can not be sent")))?;
        for process in targets {
            let hit = process.signal(signal).map_err(|error| {
                super::must_not_signal(format!("sending {name} to process {process}: {error}"))
            })?;
            if hit {
                self.hit.push(process);
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Vec<v1::Evidence> {
        let main = self.extent.main;
        self.ended = matches!(timeout(LOOK, process::ended(main)).await, Ok(Ok(())));
        let state = match main.stat() {
            Some(stat) if !self.ended => stat.state.to_string(),
            _ => "gone".to_owned(),
        };
        vec![evidence(Phase::After, "process state", state)]
    }
}

impl Fault for Kill {
    fn resource(&self) -> Option<Resource> {
        None
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        async {
            let main = self.extent.main;
            let state = main
                .stat()
                .map(|stat| stat.state)
                .ok_or_else(|| Problem::new(Code::TargetGone, format!("process {main} has ended")))?;
            let targets = self.targets()?;
            if self.through.is_none() {
                super::may_signal(&targets)?;
            }
            let mut seen = vec![evidence(Phase::Before, "process state", state)];
            if self.is_ignored(&targets) {
                seen.push(evidence(
                    Phase::Before,
                    "signal",
                    format!("SIG{} does nothing to it", self.signal.name),
                ));
            }
            Ok(Prepared { processes: targets, evidence: seen, ..Prepared::default() })
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, _: &'a dyn Arm) -> Step<'a, Duration> {
        self.strike().boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async { Ok(self.look().await) }.boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        Some(action_result::Kind::Kill(KillResult {
            signal: self.signal.name.to_owned(),
            pids: self.hit.iter().map(|process| process.pid).collect(),
            ended: self.ended,
        }))
    }

    fn settle<'a>(&'a mut self, _: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
