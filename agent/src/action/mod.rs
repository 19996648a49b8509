//! What is done to a target: one file for each action, each a [`Fault`]. The executor alone drives them, in
//! the one order of steps of `docs/decisions/0002-life-of-a-fault.md`.

mod cpu;
mod delay;
mod gc;
mod hotspot;
mod hsperf;
mod kill;
mod memory;
mod needs;
mod pod;
mod restart;
mod scale;
mod script;
mod scripts;
mod stop;
mod watch;

use std::{io, sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, action::Kind, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Process, Undo, message::Reverted};
use futures_util::future::{self, BoxFuture, FutureExt};

pub use scripts::Scripts;

use crate::{
    host::{
        self,
        cgroup::{Cgroup, Extent, Freezer},
        membership, rights,
    },
    platform::{
        Subject,
        supervisor::{Standing, Supervisor},
        support,
    },
    stress::spawn::{self, Stressor},
};

/// A step of a fault.
pub type Step<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// One action on one target. The executor calls, in this order and each at most once:
///
/// `prepare` → (arm) → `inject` → `verify` → STARTED → `over` → (the guard reverts) → `settle` → REVERTED.
///
/// What holds nothing (`resource` is `None`): `prepare` → `inject` → `verify` → DONE.
///
/// A fault may be dropped between any two steps and within `inject`; then the guard carries out what was armed.
/// What `prepare` made and had not been armed must end with the drop (a blocked child: by the end of its pipe).
pub trait Fault: Send {
    /// What of the target it takes hold of. `None`: it holds nothing, takes no duration and needs no undo.
    fn resource(&self) -> Option<Resource>;

    /// Looks at the target, and makes everything ready that can be made without touching it.
    fn prepare(&mut self) -> Step<'_, Prepared>;

    /// Takes effect. The undos are armed; more can be added before more is touched.
    ///
    /// Returns when it came into force, on CLOCK_BOOTTIME: the duration counts from there.
    fn inject<'a>(&'a mut self, arm: &'a dyn Arm) -> Step<'a, Duration>;

    /// Looks whether it took effect: evidence of [`Phase::During`].
    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>>;

    /// The figures as far as they are known.
    fn figures(&self) -> Option<action_result::Kind>;

    /// Looks whether it goes on, and waits for an end that nobody ordered: COMPLETED (a script exits with 0), or with
    /// the problem, FAILED (it broke off, or somebody else put it back). That it was the guard, or the end of the
    /// target's main process, the executor finds out. The default waits for ever.
    fn over(&mut self) -> Step<'_, ()> {
        future::pending().boxed()
    }

    /// Whether the end of the target's main process is of its own doing, so that it does not end with it.
    fn ends_its_target(&self) -> bool {
        false
    }

    /// Looks whether it is put back, and makes the figures final: evidence of [`Phase::After`]. An error says
    /// that it is not put back: STUCK.
    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>>;
}

/// What `prepare` found and made ready.
#[derive(Debug, Default)]
pub struct Prepared {
    /// All that is needed to put back whatever `inject` may do. Empty for what holds nothing.
    pub undos: Vec<Undo>,
    /// Processes that it takes hold of, besides the target's main process.
    pub processes: Vec<Process>,
    /// Of [`Phase::Before`].
    pub evidence: Vec<v1::Evidence>,
}

/// The way to the guard for a fault that finds more to hold while it is being injected.
pub trait Arm: Send + Sync {
    /// Replaces the armed undos. Returns once the guard holds them; only then may more be touched.
    fn rearm(&self, undos: Vec<Undo>) -> Step<'_, ()>;
}

/// What of a target a fault takes hold of: one fault at a time each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Whether it runs or stands still.
    RunState,
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Whether its requests fail.
    Error,
    /// A script's cgroup.
    Script,
    /// How many its owner keeps.
    Replicas,
}

impl Resource {
    /// As it is told to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunState => "run state",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Error => "error",
            Self::Script => "script",
            Self::Replicas => "number of replicas",
        }
    }
}

/// Makes the fault for an order; a script is one of `scripts`.
///
/// # Errors
/// The action is malformed, or the target's platform can not do it.
pub fn fault_for(
    action: &v1::Action,
    subject: &Subject,
    scripts: &Scripts,
) -> Result<Box<dyn Fault>, Problem> {
    let kind = action.kind.as_ref().ok_or_else(|| Problem::invalid("action", "it names no kind"))?;
    support::check(&subject.target.platform_type, kind.name())?;
    if !is_done_by_the_api(kind) {
        subject.has_its_processes_here(&kind.name().word())?;
    }
    Ok(match kind {
        Kind::Memory(order) => Box::new(memory::Memory::new(order, action, subject)?),
        Kind::Cpu(order) => Box::new(cpu::Cpu::new(order, action, subject)?),
        Kind::Gc(_) => Box::new(gc::Gc::new(subject)?),
        Kind::Script(order) => Box::new(script::Script::new(order, action, subject, scripts)?),
        Kind::Delay(_) => Box::new(delay::Delay::new(subject)?),
        Kind::Kill(order) if order.evict || order.through_runtime && subject.pod.is_some() => {
            let pod = subject.pod.clone().ok_or_else(|| unsupported(subject, "an eviction"))?;
            Box::new(pod::RemovePod::new(order, pod, subject.target.pids.clone())?)
        }
        Kind::Kill(order) => Box::new(kill::Kill::new(order, subject)?),
        Kind::Scale(order) => Box::new(scale::Scale::new(*order, subject)?),
        Kind::Restart(_) => Box::new(restart::Restart::new(subject)?),
        Kind::Stop(order) => Box::new(stop::Stop::new(*order, subject)?),
        // No platform of an agent offers it.
        Kind::Error(_) => return Err(unsupported(subject, "an error")),
    })
}

/// Whether it needs none of a pod's processes.
const fn is_done_by_the_api(kind: &Kind) -> bool {
    match kind {
        Kind::Kill(order) => order.evict || order.through_runtime,
        kind => matches!(kind, Kind::Scale(_)),
    }
}

/// How long an action is held. The executor has seen to it that it is there where it is needed.
fn hold_of(action: &v1::Action) -> Duration {
    action.duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

/// A step was called before the one that it needs.
fn out_of_order() -> Problem {
    Problem::internal("the steps of a fault were taken out of order")
}

/// Waits for the end of a stressor that was not told to end: it saw its own time over, or it broke off. Whether it
/// was the guard who ended it, the executor finds out.
async fn stressor_ended(stressor: Option<&mut Stressor>) -> Result<(), Problem> {
    let Some(stressor) = stressor else { return future::pending().await };
    match stressor.ended().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(stressor.broke_off(&status)),
        Err(error) => Err(Problem::internal(format!("waiting for a stressor: {error}"))),
    }
}

/// Waits until a stressor is seen to have ended: the guard has killed it, or it had not been released, where it may
/// not be yet what the guard ends.
async fn settled(stressor: Option<&mut Stressor>) -> Result<(), Problem> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Some(stressor) = stressor else { return Ok(()) };
    let process = stressor.process();
    stressor.hang_up();
    let ended = tokio::time::timeout(PATIENCE, stressor.ended()).await.map(drop);
    ended.map_err(|_| {
        Problem::new(Code::Stuck, format!("stressor {process} has not ended"))
            .hint(format!("kill -KILL {process}"))
    })
}

/// What is put into a cgroup that is frozen would stand still with it, and never take effect.
fn not_frozen(cgroup: &Cgroup) -> Result<(), Problem> {
    match cgroup.freezer() {
        Ok(Freezer::Frozen | Freezer::Freezing) => {
            let what = format!("{} is frozen: what is started in it stands still", cgroup.folder.display());
            Err(Problem::new(Code::AlreadyInState, what)
                .hint("let the pause end first, or pause it afterwards"))
        }
        Ok(Freezer::Thawed) => Ok(()),
        // The root of a hierarchy can not freeze.
        Err(error) if membership::is_removed(&error) => Ok(()),
        Err(error) => Err(host::unseen(cgroup.folder.display(), error)),
    }
}

/// All processes of a target. A part that cannot be looked at could be missed, so that nothing is done then.
fn whole(extent: &Extent) -> Result<Vec<Process>, Problem> {
    extent.processes().map_err(|error| not_whole(extent, error))
}

/// The cgroups that hold the whole target and nobody else.
fn freezers(extent: &Extent) -> Result<Vec<Cgroup>, Problem> {
    extent.freezers().map_err(|error| not_whole(extent, error))
}

fn not_whole(extent: &Extent, error: io::Error) -> Problem {
    host::unseen(format_args!("looking at all processes of target process {}", extent.main), error)
}

/// The same for where a stressor of the target is put, and that it may be put there.
fn takes_stressors(target: Option<Process>) -> Result<(), Problem> {
    let Some(target) = target else { return Ok(()) };
    for place in spawn::places(target)? {
        not_frozen(&place)?;
        if !place.takes_processes() {
            let what = format!("this agent may not put a stressor into {}", place.folder.display());
            return Err(Problem::new(Code::PolicyForbids, what).hint("run the agent as root"));
        }
    }
    Ok(())
}

/// Refuses to signal what this agent may not signal, before any of it is.
fn may_signal(processes: &[Process]) -> Result<(), Problem> {
    match processes.iter().find(|process| !rights::may_signal(**process)) {
        None => Ok(()),
        Some(process) => Err(must_not_signal(format!("this agent may not signal process {process}"))),
    }
}

fn must_not_signal(what: String) -> Problem {
    Problem::new(Code::PolicyForbids, what)
        .hint("run the agent as a user that may signal the target, or with CAP_KILL")
}

/// Refuses to end what nothing could start again.
fn comes_back(subject: &str, now: &Standing) -> Result<(), Problem> {
    let Some(why) = now.vanishes else { return Ok(()) };
    let what = format!("{subject} would be gone for good once it has ended: {why}");
    Err(Problem::new(Code::WouldVanish, what)
        .hint("pause it instead (delay), or kill it (kill) where something makes another one"))
}

/// Who runs the target.
fn supervisor(subject: &Subject, what: &str) -> Result<Arc<dyn Supervisor>, Problem> {
    subject.supervisor.clone().ok_or_else(|| unsupported(subject, what))
}

/// The main process of a target that is to be there.
fn main_process(subject: &Subject, what: &str) -> Result<Process, Problem> {
    subject.main.ok_or_else(|| unsupported(subject, what))
}

/// The target's platform can not do it.
pub fn unsupported(subject: &Subject, what: &str) -> Problem {
    let target = &subject.target;
    Problem::new(Code::Unsupported, format!("{} ({}) can not take {what}", target.id, target.platform_type))
}

/// Something observed on a target.
pub fn evidence(phase: Phase, what: &str, value: impl ToString) -> v1::Evidence {
    v1::Evidence { phase: phase.into(), what: what.to_owned(), value: value.to_string() }
}
