//! What may be hit, as pure decisions.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    v1::{Action, Target, action::Kind, delay::Mode, target_health::State},
};

use crate::fleet::GroupView;

/// What a held fault takes hold of. One at a time per target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Resource {
    RunState,
    Memory,
    Cpu,
    /// The requests that an SDK guards: errors and delayed requests.
    Requests,
    Script,
    /// How many its owner keeps.
    Replicas,
}

impl Resource {
    /// `None` for what holds nothing.
    pub(super) fn of(action: &Action) -> Option<Self> {
        match action.kind.as_ref()? {
            Kind::Delay(delay) if delay.mode() == Mode::Requests => Some(Self::Requests),
            Kind::Delay(_) | Kind::Stop(_) => Some(Self::RunState),
            Kind::Memory(_) => Some(Self::Memory),
            Kind::Cpu(_) => Some(Self::Cpu),
            Kind::Error(_) => Some(Self::Requests),
            Kind::Script(_) => Some(Self::Script),
            Kind::Scale(_) => Some(Self::Replicas),
            Kind::Kill(_) | Kind::Gc(_) | Kind::Restart(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::RunState => "run state",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Requests => "guarded requests",
            Self::Script => "script",
            Self::Replicas => "number of replicas",
        }
    }
}

/// How many of its target's group an action leaves at the least: who they are, the owner of the replicas chooses. `None`:
/// it hits its target alone.
pub(super) fn leaves(action: &Action) -> Option<usize> {
    match action.kind.as_ref()? {
        Kind::Scale(order) => Some(usize::try_from(order.replicas).unwrap_or(usize::MAX)),
        _ => None,
    }
}

/// After a start of the server, whether all of a group are back, as far as an earlier start knew it. A target
/// that is alone may have had company.
///
/// # Errors
/// [`Code::Settling`].
pub(super) fn is_back(group: &GroupView, left: Duration) -> Result<(), Problem> {
    let (seen, expected) = (group.members.len(), group.expected);
    if expected > 0 && seen >= expected.max(2) {
        return Ok(());
    }
    let message = format!(
        "after the server's start, group {:?} ({seen} seen) waits for agents that may come back",
        group.key.1
    );
    Err(Problem::new(Code::Settling, message)
        .hint(format!("try again in {:.0} s", left.as_secs_f64().ceil())))
}

pub(super) fn already_held(target: &Target, resource: Resource, by: &str) -> Problem {
    let message = format!("a fault on the {} of {} is in force: action {by}", resource.name(), target.name);
    Problem::new(Code::AlreadyHeld, message).hint(format!("kittyctl action stop {by}, or wait until it ends"))
}

/// Whether the target's platform finds it well.
pub(super) fn is_healthy(target: &Target) -> bool {
    target.health() == State::Normal
}
