//! The target stands still: by the cgroup freezer where it owns a cgroup, else by SIGSTOP to its whole tree.

use std::{collections::HashSet, thread, time::Duration};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    v1::{self, DelayResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Undo, hooks, message::Reverted};
use futures_util::future::FutureExt;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence, unsupported,
    watch::{OFTEN, Seen, Watch},
};
use crate::{
    host::{
        self,
        cgroup::{Cgroup, Extent, Freezer},
        membership,
        process::{Process, stands_still},
    },
    platform::Subject,
};

/// Longest time until all stand still, or run again.
const PATIENCE: Duration = Duration::from_secs(5);

/// So long it is looked for without a pause, for the sake of accuracy: it is a matter of microseconds.
const SPIN: Duration = Duration::from_millis(1);

/// A tree that has grown this often while it was being stopped can not be stopped.
const ROUNDS: usize = 100;

/// See the module.
pub(super) struct Delay {
    extent: Extent,
    /// `None`: by signals.
    freezer: Option<Cgroup>,
    /// What stood still by our doing, main process first.
    stopped: Vec<Process>,
    /// What stood still before: not ours to continue.
    left_alone: HashSet<Process>,
    since: Duration,
    watch: Watch,
    held: Option<Duration>,
}

impl Delay {
    pub(super) fn new(subject: &Subject) -> Result<Self, Problem> {
        let extent = subject.extent().ok_or_else(|| {
            unsupported(subject, "delay").hint("pause a process, a worker or a container instead")
        })?;
        Ok(Self {
            extent,
            freezer: None,
            stopped: Vec::new(),
            left_alone: HashSet::new(),
            since: Duration::ZERO,
            watch: Watch::every(OFTEN),
            held: None,
        })
    }

    fn look(&mut self) -> Result<Prepared, Problem> {
        let tree = super::whole(&self.extent)?;
        let main = self.extent.main;
        let state = main.stat().map(|stat| stat.state).ok_or_else(|| self.gone())?;
        let freezers = super::freezers(&self.extent)?;
        for frozen in &freezers {
            let unseen = |error| host::unseen(frozen.folder.display(), error);
            if frozen.freezer().map_err(unseen)? == Freezer::Thawed {
                continue;
            }
            let what = format!("{} is frozen already, and not by our doing", frozen.folder.display());
            return Err(Problem::new(Code::AlreadyInState, what)
                .hint("whoever paused it can let it go on, e.g. docker unpause, systemctl thaw"));
        }
        self.freezer = freezers.into_iter().find(Cgroup::can_be_frozen);
        self.left_alone = HashSet::new();
        for process in &tree {
            if stands_still(process)
                .map_err(|error| host::unseen(format_args!("process {process}"), error))?
            {
                self.left_alone.insert(*process);
            }
        }
        if self.left_alone.contains(&main) {
            return Err(Problem::new(
                Code::AlreadyInState,
                format!("process {main} stands still already, and not by our doing"),
            )
            .hint(format!("whoever stopped it can continue it: kill -CONT {main}")));
        }
        let mut seen = vec![evidence(Phase::Before, "process state", state)];
        seen.extend(
            self.freezer.iter().map(|freezer| evidence(Phase::Before, freezer.attribute(), "thawed")),
        );
        self.stopped = self.ours(&tree);
        if self.freezer.is_none() {
            super::may_signal(&self.stopped)?;
        }
        Ok(Prepared { undos: self.undos(), processes: tree, evidence: seen })
    }

    fn ours(&self, tree: &[Process]) -> Vec<Process> {
        tree.iter().copied().filter(|process| !self.left_alone.contains(process)).collect()
    }

    fn undos(&self) -> Vec<Undo> {
        vec![match &self.freezer {
            Some(cgroup) => cgroup.thaw(),
            None => Undo::Continue { processes: self.stopped.clone() },
        }]
    }

    async fn freeze(&mut self, cgroup: &Cgroup) -> Result<(), Problem> {
        cgroup
            .freeze()
            .map_err(|error| Problem::internal(format!("freezing {}: {error}", cgroup.folder.display())))?;
        hooks::point("agent-mid-freeze");
        let frozen = || cgroup.freezer().is_ok_and(|freezer| freezer == Freezer::Frozen);
        if !comes_about(frozen).await {
            return Err(Problem::new(
                Code::NoAnswer,
                format!("{} did not freeze within {PATIENCE:?}", cgroup.folder.display()),
            )
            .hint("a process of it may hang in the kernel (state D)"));
        }
        self.since = boot_time();
        let unseen = |error| host::unseen(format_args!("looking into {}", cgroup.folder.display()), error);
        let members = cgroup.members().map_err(unseen)?;
        self.stopped.retain(|process| members.contains(&process.pid));
        Ok(())
    }

    /// Parents first, and again until nothing new was forked meanwhile.
    async fn stop_tree(&mut self, arm: &dyn Arm) -> Result<(), Problem> {
        let mut new = self.stopped.clone();
        for _ in 0..ROUNDS {
            for process in &new {
                process.signal(Signal::STOP).map_err(|error| {
                    super::must_not_signal(format!("stopping process {process}: {error}"))
                })?;
                hooks::point("agent-mid-delay");
            }
            if !comes_about(|| new.iter().all(|process| is_still(process) || process.has_ended())).await {
                return Err(Problem::new(
                    Code::NoAnswer,
                    format!("not all of process {}'s tree stood still within {PATIENCE:?}", self.extent.main),
                )
                .hint("a process of it may hang in the kernel (state D)"));
            }
            self.since = boot_time();
            let known: HashSet<_> = self.stopped.iter().chain(&self.left_alone).copied().collect();
            new =
                super::whole(&self.extent)?.into_iter().filter(|process| !known.contains(process)).collect();
            if new.is_empty() {
                return if self.extent.main.has_ended() { Err(self.gone()) } else { Ok(()) };
            }
            self.stopped.extend(&new);
            arm.rearm(self.undos()).await?;
        }
        Err(Problem::new(
            Code::Unsupported,
            format!("process {} forks faster than its tree can be stopped", self.extent.main),
        )
        .hint("run it in a cgroup of its own, which is frozen as a whole"))
    }

    /// What is seen while it stands still.
    fn during(&self) -> Vec<v1::Evidence> {
        let state = self.extent.main.stat().map_or("gone".to_owned(), |stat| stat.state.to_string());
        let still = match &self.freezer {
            Some(cgroup) => evidence(Phase::During, cgroup.attribute(), "frozen"),
            None => {
                let still = self.stopped.iter().filter(|process| is_still(process)).count();
                evidence(Phase::During, "processes stopped", format!("{still} of {}", self.stopped.len()))
            }
        };
        vec![evidence(Phase::During, "process state", state), still]
    }

    /// Whether all still stand still. What has ended is no loss: the main process's end is the executor's.
    fn goes_on(&self) -> Seen {
        let runs = match &self.freezer {
            Some(cgroup) => match (cgroup.freezer(), cgroup.members()) {
                (Ok(Freezer::Thawed), _) => Some(cgroup.folder.display().to_string()),
                (_, Ok(members)) if !members.contains(&self.extent.main.pid) => {
                    Some(format!("process {}", self.extent.main))
                }
                (Ok(_), Ok(_)) => None,
                (Err(_), _) | (_, Err(_)) => return Seen::Nothing,
            },
            None => {
                let runs =
                    |process: &&Process| matches!(stands_still(process), Ok(false)) && !process.has_ended();
                self.stopped.iter().find(runs).map(|process| format!("process {process}"))
            }
        };
        let Some(runs) = runs else { return Seen::InForce };
        let held = boot_time().saturating_sub(self.since);
        Seen::Lost(
            Problem::new(Code::EffectLost, format!("{runs} was paused and runs again after {held:.1?}"))
                .hint("somebody else continued it: look for kill -CONT, docker unpause, systemctl thaw"),
        )
    }

    fn moves(&self) -> bool {
        match &self.freezer {
            Some(cgroup) => match cgroup.freezer() {
                Ok(freezer) => freezer == Freezer::Thawed,
                Err(error) => membership::is_removed(&error),
            },
            None => self.stopped.iter().all(|process| matches!(stands_still(process), Ok(false))),
        }
    }

    async fn look_again(&mut self, reverted: &Reverted) -> Result<Vec<v1::Evidence>, Problem> {
        if !self.since.is_zero() {
            self.held = Some(self.watch.until(reverted).saturating_sub(self.since));
        }
        if !comes_about(|| self.moves()).await {
            let still: Vec<_> =
                self.stopped.iter().filter(|process| is_still(process)).map(Process::to_string).collect();
            return Err(Problem::new(
                Code::Stuck,
                format!("of process {}'s tree some stand still yet", self.extent.main),
            )
            .hint(format!("run on the host: kill -CONT {}", still.join(" "))));
        }
        let state = self.extent.main.stat().map_or("gone".to_owned(), |stat| stat.state.to_string());
        let mut seen = vec![evidence(Phase::After, "process state", state)];
        seen.extend(self.freezer.iter().map(|freezer| evidence(Phase::After, freezer.attribute(), "thawed")));
        Ok(seen)
    }

    fn gone(&self) -> Problem {
        Problem::new(Code::TargetGone, format!("process {} has ended", self.extent.main))
    }
}

impl Fault for Delay {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::RunState)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        async { self.look() }.boxed()
    }

    fn inject<'a>(&'a mut self, arm: &'a dyn Arm) -> Step<'a, Duration> {
        async {
            match self.freezer.clone() {
                Some(cgroup) => self.freeze(&cgroup).await?,
                None => self.stop_tree(arm).await?,
            }
            Ok(self.since)
        }
        .boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        // That all stand still was seen by `inject`, and is where the time counts from.
        async { Ok(self.during()) }.boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        let means = if self.freezer.is_some() { "freezer" } else { "signal" };
        Some(action_result::Kind::Delay(DelayResult {
            held: self.held.map(Into::into),
            processes: u32::try_from(self.stopped.len()).unwrap_or(u32::MAX),
            requests: 0,
            means: means.to_owned(),
        }))
    }

    fn over(&mut self) -> Step<'_, ()> {
        async {
            loop {
                let looked = boot_time();
                let pause = self.watch.saw(looked, self.goes_on())?;
                sleep(pause).await;
            }
        }
        .boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        self.look_again(reverted).boxed()
    }
}

/// As far as it was seen.
fn is_still(process: &Process) -> bool {
    stands_still(process).unwrap_or(false)
}

/// Whether a condition comes to hold within [`PATIENCE`].
async fn comes_about(holds: impl Fn() -> bool) -> bool {
    let begun = boot_time();
    loop {
        let passed = boot_time().saturating_sub(begun);
        match holds() {
            true => return true,
            false if passed > PATIENCE => return false,
            false if passed < SPIN => thread::yield_now(),
            false => sleep(SPIN).await,
        }
    }
}
