//! What may be hit, as pure decisions.

use std::time::{Duration, SystemTime};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{Action, ActionStatus, Target, action::Kind, delay::Mode, evidence::Phase, target_health::State},
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
/// `absent` are the agents that had members of it and are not back.
pub(super) fn is_back(group: &GroupView, left: Duration, absent: &[String]) -> Result<(), Problem> {
    let (seen, expected) = (group.members.len(), group.expected);
    if expected > 0 && seen >= expected.max(2) {
        return Ok(());
    }
    let known = if expected > 0 { format!(" of {expected} known before") } else { String::new() };
    let whom = match absent {
        [] => "agents that may come back".to_owned(),
        agents => agents.join(", "),
    };
    let message = format!(
        "after the server's start, group {:?} ({seen}{known} seen) waits for {whom}, until {}",
        group.key.1,
        clock(SystemTime::now() + left)
    );
    Err(Problem::new(Code::Settling, message)
        .hint(format!("try again in {:.0} s", left.as_secs_f64().ceil())))
}

/// The time of day, UTC.
pub(super) fn clock(at: SystemTime) -> String {
    Timestamp { nanos: 0, ..Timestamp::from(at) }.to_string()
}

/// Whether what became of an action shows that its target runs again, and no check of its own says more: then that is
/// its health, and nobody waits for its agent's next look.
pub(super) fn runs_again(status: &ActionStatus) -> bool {
    let is_checked =
        matches!(status.platform_type.as_str(), "DockerPlatform" | "SystemdPlatform" | "KubernetesPlatform");
    let mut after = status.evidence.iter().filter(|seen| seen.phase() == Phase::After);
    let state = after.find(|seen| seen.what == "process state");
    !is_checked && state.is_some_and(|seen| !matches!(seen.value.as_str(), "T" | "t" | "Z" | "X" | "gone"))
}

pub(super) fn already_held(target: &Target, resource: Resource, by: &str) -> Problem {
    let message = format!("a fault on the {} of {} is in force: action {by}", resource.name(), target.name);
    Problem::new(Code::AlreadyHeld, message).hint(format!("kittyctl action stop {by}, or wait until it ends"))
}

/// Whether the target's platform finds it well.
pub(super) fn is_healthy(target: &Target) -> bool {
    target.health() == State::Normal
}
