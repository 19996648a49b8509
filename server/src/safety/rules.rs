//! What may be hit, as pure decisions.

use chaos_kitty::{
    Code, Problem,
    v1::{Action, Target, action::Kind, delay::Mode, target_health::State},
};

/// What a held fault takes hold of. One at a time per target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resource {
    RunState,
    Memory,
    Cpu,
    /// The requests that an SDK guards: errors and delayed requests.
    Requests,
    Script,
}

impl Resource {
    /// `None` for what holds nothing.
    pub(super) fn of(action: &Action) -> Option<Self> {
        match action.kind.as_ref()? {
            Kind::Delay(delay) if delay.mode() == Mode::Requests => Some(Self::Requests),
            Kind::Delay(_) => Some(Self::RunState),
            Kind::Memory(_) => Some(Self::Memory),
            Kind::Cpu(_) => Some(Self::Cpu),
            Kind::Error(_) => Some(Self::Requests),
            Kind::Script(_) => Some(Self::Script),
            Kind::Kill(_) | Kind::Gc(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::RunState => "run state",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Requests => "guarded requests",
            Self::Script => "script",
        }
    }
}

/// The group of a target, as a decision needs it.
pub(super) struct Survivors {
    /// Members that are healthy, not hurt, and not the target itself.
    pub(super) others: usize,
    /// The group's largest size within the window.
    pub(super) peak: usize,
    /// The server started a moment ago: agents of the group may not be back.
    pub(super) settling: bool,
}

/// Whether somebody of the group is left alone when the target is hit.
///
/// # Errors
/// [`Code::TooFewSurvivors`]; [`Code::Settling`]: that can not be known yet.
pub(super) fn leaves_survivors(target: &Target, group: &Survivors) -> Result<(), Problem> {
    if group.others > 0 {
        return Ok(());
    }
    let name = &target.aggregation_identifier;
    if group.peak >= 2 {
        let message = format!(
            "nobody of group {name:?} ({} targets) besides {} is healthy and left alone",
            group.peak, target.name
        );
        return Err(Problem::new(Code::TooFewSurvivors, message)
            .hint("wait until another one of the group is healthy again, or add one"));
    }
    if group.settling {
        let message = format!("after the server's start, group {name:?} waits for agents that may come back");
        return Err(Problem::new(Code::Settling, message).hint("try again after one lease"));
    }
    Ok(())
}

pub(super) fn already_held(target: &Target, resource: Resource, by: &str) -> Problem {
    let message = format!("a fault on the {} of {} is in force: action {by}", resource.name(), target.name);
    Problem::new(Code::AlreadyHeld, message).hint(format!("kittyctl action stop {by}, or wait until it ends"))
}

/// Whether the target's platform finds it well.
pub(super) fn is_healthy(target: &Target) -> bool {
    target.health() == State::Normal
}

/// Host and incarnation of a process.
pub(super) type Process = (String, String);

/// The process that a target is, where its platform names one: the same process may be seen as several
/// targets.
pub(super) fn process(target: &Target) -> Option<Process> {
    (!target.pids.is_empty() && target.incarnation.contains(':'))
        .then(|| (target.host.clone(), target.incarnation.clone()))
}
