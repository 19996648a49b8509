//! A script: it runs inside the target's namespaces, in a cgroup of its own that is ended as a whole.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use chaos_kitty::{
    Code, Problem,
    v1::{self, ScriptResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{CgroupVersion, Process, Undo, hooks, message::Reverted};
use futures_util::future::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinHandle,
};

use super::{Arm, Fault, Prepared, Resource, Scripts, Step, evidence, hold_of};
use crate::{
    host::{
        cgroup::Cgroup,
        membership::{self, Membership},
    },
    platform::Subject,
    stress::spawn::{Said, Stressor},
};

/// How much of its output is kept.
const OUTPUT_BYTES: usize = 4096;

/// How often a script's processes are counted.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// How long the last of its output is waited for after its end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// A script that runs on a target.
#[derive(Debug)]
pub(super) struct Script {
    order: v1::RunScript,
    content: Bytes,
    hold: Duration,
    target: Option<Process>,
    runner: Option<Stressor>,
    cgroup: Cgroup,
    output: Output,
    drained: Option<JoinHandle<()>>,
    in_force: Duration,
    figures: ScriptResult,
}

impl Script {
    pub(super) fn new(
        order: &v1::RunScript,
        action: &v1::Action,
        subject: &Subject,
        scripts: &Scripts,
    ) -> Result<Self, Problem> {
        Ok(Self {
            content: scripts.content(&order.name, &order.hash)?,
            order: order.clone(),
            hold: hold_of(action),
            target: subject.main,
            runner: None,
            cgroup: Cgroup { folder: PathBuf::new(), version: CgroupVersion::V2 },
            output: Output::default(),
            drained: None,
            in_force: Duration::ZERO,
            figures: ScriptResult::default(),
        })
    }

    async fn look(&mut self) -> Result<Prepared, Problem> {
        let parent = parent(self.target)?;
        super::not_frozen(&parent)?;
        let target = self.target.map_or(0, |target| target.pid);
        let mut arguments = vec!["enter".to_owned(), target.to_string(), self.order.name.clone()];
        arguments.extend(self.order.arguments.iter().cloned());
        let runner = Stressor::spawn(&arguments, Stdio::piped())?;
        let Process { pid, start_time } = runner.process();
        let version = parent.version;
        let folder = parent.folder.join(format!("kitty-script-{pid}-{start_time}"));
        let undos = vec![
            Undo::EndCgroup { cgroup: folder.clone(), version },
            Undo::RemoveCgroup { cgroup: folder.clone() },
        ];
        self.cgroup = Cgroup { folder, version };
        self.runner = Some(runner);
        let before = vec![evidence(Phase::Before, "cgroup", self.cgroup.folder.display())];
        Ok(Prepared { undos, evidence: before, ..Prepared::default() })
    }

    async fn start(&mut self) -> Result<Duration, Problem> {
        let runner = self.runner.as_mut().ok_or_else(super::out_of_order)?;
        runner.place(self.target)?;
        fs::create_dir(&self.cgroup.folder)
            .and_then(|()| self.cgroup.attach(runner.process().pid))
            .map_err(|error| no_cgroup(&self.cgroup.folder, &error))?;
        hooks::point("agent-mid-script");
        if let Some(stderr) = runner.take_stderr() {
            self.drained = Some(tokio::spawn(self.output.clone().drain(stderr)));
        }
        self.in_force = runner.release(self.hold).await?;
        runner.send(&self.content).await?;
        match runner.hear().await? {
            Said::Started => Ok(self.in_force),
            said => Err(said.into_problem()),
        }
    }

    /// Waits for its end, counting its processes meanwhile.
    async fn wait(&mut self) -> Result<(), Problem> {
        let Some(runner) = &mut self.runner else { return std::future::pending().await };
        let mut count = tokio::time::interval(COUNT_EVERY);
        let said = loop {
            tokio::select! {
                said = runner.hear() => break said,
                _ = count.tick() => self.figures.ended_processes = processes(&self.cgroup),
            }
        };
        match said {
            Ok(Said::Exited { code: Some(code), .. }) => {
                self.figures.exit_code = Some(code);
                // Those that outlive it. Where it was killed, the last count holds.
                self.figures.ended_processes = processes(&self.cgroup);
                Ok(())
            }
            Ok(Said::Exited { signal, .. }) => {
                // If it was the guard who killed it, its word is on the way.
                tokio::time::sleep(super::WORD_OF_REVERT).await;
                let what = format!("the script was ended by signal {}", signal.unwrap_or_default());
                Err(Problem::new(Code::BrokeOff, what).hint("look who ended it, e.g. in the target's log"))
            }
            Ok(_) | Err(_) => super::stressor_ended(self.runner.as_mut()).await,
        }
    }
}

impl Fault for Script {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::Script)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look().boxed()
    }

    fn inject<'a>(&'a mut self, _arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.start().boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async {
            let seen = processes(&self.cgroup);
            self.figures.ended_processes = seen;
            Ok(vec![evidence(Phase::During, "processes", seen)])
        }
        .boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        let figures = ScriptResult { output: self.output.text(), ..self.figures.clone() };
        Some(action_result::Kind::Script(figures))
    }

    fn over(&mut self) -> Step<'_, ()> {
        self.wait().boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async {
            super::settled(self.runner.as_mut()).await?;
            let left = processes(&self.cgroup);
            if left > 0 {
                let what = format!("{left} processes are left in {}", self.cgroup.folder.display());
                return Err(Problem::new(Code::Stuck, what).hint("kitty-agent revert --all"));
            }
            if let Some(drained) = self.drained.take() {
                // Nobody is left to write, unless a process outside of its cgroup was handed its output.
                let _ = tokio::time::timeout(LAST_OUTPUT, drained).await;
            }
            self.figures.ran = Some(reverted.at.saturating_sub(self.in_force).into());
            Ok(vec![evidence(Phase::After, "processes", left)])
        }
        .boxed()
    }
}

/// The cgroup below which a script's own is made. Version 2 can end a cgroup in one step, so it comes first: below
/// the target's, whose limits then count, or beside the agent's for a host. The freezer of version 1 can do it in
/// three; it sets no limits, and is below the agent's own, since a pause of the target would keep from ending what
/// is below the target's.
fn parent(target: Option<Process>) -> Result<Cgroup, Problem> {
    let agent = std::process::id();
    let pid = target.map_or(agent, |target| target.pid);
    let of = |pid| {
        membership::of(pid)
            .map_err(|error| Problem::new(Code::TargetGone, format!("the cgroups of process {pid}: {error}")))
    };
    let beside = |membership: &Membership| match membership.folder.parent() {
        Some(above) if target.is_none() && above.starts_with(&membership.root) => above.to_owned(),
        _ => membership.folder.clone(),
    };
    let theirs = of(pid)?.into_iter().filter(|one| one.version == CgroupVersion::V2);
    let theirs = theirs.map(|one| Cgroup { folder: beside(&one), version: one.version });
    let ours =
        of(agent)?.into_iter().filter(|one| one.version == CgroupVersion::V1 && one.controls("freezer"));
    let ours = ours.map(|one| Cgroup { folder: one.folder, version: one.version });
    let writable = |place: &Cgroup| rustix::fs::access(&place.folder, rustix::fs::Access::WRITE_OK).is_ok();
    theirs.chain(ours).find(writable).ok_or_else(|| {
        Problem::new(Code::Unsupported, "no cgroup of the target is writable, so a script could not be ended")
            .hint("run the agent as root, or with Delegate=yes for its own host's scripts")
    })
}

/// How many processes are in a cgroup and below it; none where it is gone.
fn processes(cgroup: &Cgroup) -> u32 {
    cgroup.members().map_or(0, |pids| u32::try_from(pids.len()).unwrap_or(u32::MAX))
}

fn no_cgroup(cgroup: &Path, error: &io::Error) -> Problem {
    Problem::new(Code::Unsupported, format!("{}: {error}", cgroup.display()))
        .hint("the agent must be allowed to make cgroups below the target's: run it as root")
}

/// The end of what a script says.
#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    async fn drain(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.keep(&buffer[..length]);
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES);
        kept.drain(..excess);
    }

    fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept() {
        let output = Output::default();
        (0..1000).for_each(|n| output.keep(format!("line {n}\n").as_bytes()));
        let text = output.text();
        assert!(text.len() == OUTPUT_BYTES && text.ends_with("line 999\n"));
    }
}
