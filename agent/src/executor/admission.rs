//! What may be started: the checks that need no look at the target.

use std::{num::NonZero, sync::Arc, time::Duration};

use chaos_kitty::{Code, Problem, lease::boot_time, v1};
use jiff::Timestamp;

use super::{
    Shared, State,
    claims::{Holder, Key},
};
use crate::{
    action::{Fault, fault_for},
    journal::Journal,
    platform::Subject,
    policy::Moment,
    stress::memory,
};

/// An order that may be carried out. What it takes hold of is claimed.
pub(super) struct Admitted {
    pub(super) fault: Box<dyn Fault>,
    pub(super) subject: Arc<Subject>,
    pub(super) journal: Journal,
    /// How long it is held. Zero: it holds nothing.
    pub(super) duration: Duration,
    /// When it is too late to begin, on CLOCK_BOOTTIME.
    pub(super) begin_by: Duration,
}

/// Time that looking, recording and arming may take beyond what the order allows for its way here.
const GRACE: Duration = Duration::from_secs(2);

/// What an order that does not say allows, and the least that any allows: the server's own start timeout.
const START_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn admit(
    shared: &Shared,
    state: &mut State,
    order: &v1::StartAction,
) -> Result<Admitted, Problem> {
    let journal = open(shared, state)?;
    let subject = find(shared, order)?;
    let action = order.action.as_ref().ok_or_else(|| Problem::invalid("action", "it is missing"))?;
    let held = state.live.values().filter(|live| live.holds).count();
    shared.policy().check(action, &subject.target, now(held)?)?;
    let fault = fault_for(action, &subject, &state.scripts)?;
    let duration = duration(action, fault.as_ref())?;
    if let Some(resource) = fault.resource() {
        if held >= shared.settings.max_held {
            return Err(Problem::new(
                Code::LimitReached,
                format!("{held} faults are in force on this host, which is its limit"),
            )
            .hint("wait until one ends, or stop one"));
        }
        state.claims.claim(&order.action_id, &[Key { holder: Holder::of(&subject), resource }])?;
    }
    let start_within = order.start_within.and_then(|within| within.try_into().ok()).unwrap_or_default();
    let begin_by = boot_time() + START_WITHIN.max(start_within) + GRACE;
    Ok(Admitted { fault, subject, journal, duration, begin_by })
}

/// Whether anything at all may be started now; then, where it is recorded.
fn open(shared: &Shared, state: &State) -> Result<Journal, Problem> {
    if state.closing {
        return Err(Problem::new(Code::AgentUnreachable, "the agent is stopping"));
    }
    if state.latched {
        return Err(Problem::new(Code::Halted, "the agent was halted").hint("resume first: kittyctl resume"));
    }
    if !shared.link.is_up() {
        return Err(guard_unavailable());
    }
    let journal = state.journal.clone()?;
    if state.lease_until <= boot_time() {
        return Err(Problem::new(Code::OrderTooLate, "the agent has no lease, so nothing may be held")
            .hint("order it again once the agent answers"));
    }
    Ok(journal)
}

/// What the policy looks at besides the order.
fn now(faults: usize) -> Result<Moment, Problem> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Ok(Moment {
        now: Timestamp::now(),
        available_memory: memory::available()?,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        faults,
    })
}

pub(super) fn guard_unavailable() -> Problem {
    Problem::new(Code::GuardUnavailable, "the agent's guard is not there, so nothing may be injected")
        .hint("see the agent's log for why kitty-guard does not run")
}

fn find(shared: &Shared, order: &v1::StartAction) -> Result<Arc<Subject>, Problem> {
    let id = &order.target_id;
    let subject = (shared.find)(id).ok_or_else(|| {
        Problem::new(Code::TargetGone, format!("there is no target {id} on this host any more"))
    })?;
    let now = &subject.target.incarnation;
    if *now != order.incarnation {
        return Err(Problem::new(
            Code::Recycled,
            format!("{id} is {now} now, and the order is for {}", order.incarnation),
        )
        .hint("look at the targets again, and choose anew"));
    }
    if subject.main.is_some_and(|main| main.has_ended()) {
        return Err(Problem::new(Code::TargetGone, format!("the process of {id} has ended")));
    }
    Ok(subject)
}

fn duration(action: &v1::Action, fault: &dyn Fault) -> Result<Duration, Problem> {
    match (fault.resource(), action.duration) {
        (None, None) => Ok(Duration::ZERO),
        (None, Some(_)) => {
            Err(Problem::invalid("action.duration", "this action holds nothing, so it takes no duration"))
        }
        (Some(_), None) => Err(Problem::invalid("action.duration", "it is missing")),
        (Some(_), Some(duration)) => Duration::try_from(duration)
            .ok()
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| Problem::invalid("action.duration", "it must be above 0")),
    }
}
