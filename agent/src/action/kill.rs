//! A signal to the target's main process, or to its whole tree. Holds nothing.

use std::time::Duration;

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
        cgroup::{Cgroup, Freezer},
        process::{self, Process},
    },
    platform::Subject,
};

/// How long it is looked whether the main process ends.
const LOOK: Duration = Duration::from_secs(1);

/// Signals that make a process stand still, which is another action's.
const STOPPING: [Signal; 4] = [Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU];

/// See the module.
pub(super) struct Kill {
    main: Process,
    signal: Signal,
    name: &'static str,
    tree: bool,
    hit: Vec<Process>,
    ended: bool,
}

impl Kill {
    pub(super) fn new(kill: &v1::Kill, subject: &Subject) -> Result<Self, Problem> {
        let main = subject.main.ok_or_else(|| {
            unsupported(subject, "kill").hint("kill a process, a worker or a container instead")
        })?;
        let named = signal::Signal::parse("action.kill.signal", &kill.signal)?;
        let signal = Signal::from_named_raw(named.number).ok_or_else(|| {
            Problem::invalid("action.kill.signal", format_args!("{} can not be sent", named.name))
        })?;
        if STOPPING.contains(&signal) {
            return Err(Problem::invalid(
                "action.kill.signal",
                format_args!("{} makes the target stand still, and nothing would continue it", named.name),
            )
            .hint("use delay, which puts it back: kittyctl unleash delay --duration 10s"));
        }
        Ok(Self { main, signal, name: named.name, tree: kill.tree, hit: Vec::new(), ended: false })
    }

    fn targets(&self) -> Vec<Process> {
        if self.tree { process::tree(self.main) } else { vec![self.main] }
    }

    /// A frozen process never sees the signal (version 1), or sees it when it is thawed (version 2).
    fn thaw(&self) -> Result<(), Problem> {
        let Some(cgroup) = Cgroup::owned_by(&process::tree(self.main)) else { return Ok(()) };
        if cgroup.freezer().is_ok_and(|freezer| freezer == Freezer::Thawed) {
            return Ok(());
        }
        cgroup.thaw().step().map(drop).map_err(|error| {
            Problem::internal(format!("thawing {} before the kill: {error}", cgroup.folder.display()))
        })
    }

    fn strike(&mut self) -> Result<Duration, Problem> {
        let targets = self.targets();
        self.thaw()?;
        let at = boot_time();
        for process in targets {
            let hit = process.signal(self.signal).map_err(|error| {
                Problem::new(
                    Code::PolicyForbids,
                    format!("sending {} to process {process}: {error}", self.name),
                )
                .hint("run the agent as a user that may signal the target")
            })?;
            if hit {
                self.hit.push(process);
            }
        }
        if self.hit.is_empty() {
            return Err(Problem::new(
                Code::TargetGone,
                format!("process {} ended before the signal", self.main),
            ));
        }
        Ok(at)
    }

    async fn look(&mut self) -> Vec<v1::Evidence> {
        self.ended = matches!(timeout(LOOK, process::ended(self.main)).await, Ok(Ok(())));
        let state = match self.main.stat() {
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
            let state =
                self.main.stat().map(|stat| stat.state).ok_or_else(|| {
                    Problem::new(Code::TargetGone, format!("process {} has ended", self.main))
                })?;
            Ok(Prepared {
                processes: self.targets(),
                evidence: vec![evidence(Phase::Before, "process state", state)],
                ..Prepared::default()
            })
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, _: &'a dyn Arm) -> Step<'a, Duration> {
        async { self.strike() }.boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async { Ok(self.look().await) }.boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        Some(action_result::Kind::Kill(KillResult {
            signal: self.name.to_owned(),
            pids: self.hit.iter().map(|process| process.pid).collect(),
            ended: self.ended,
        }))
    }

    fn settle<'a>(&'a mut self, _: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
