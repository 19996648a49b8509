//! What is seen of an experiment's target and fault, and what may come next.

use std::time::SystemTime;

use chaos_kitty::{
    Problem,
    v1::{admin_state::Name as Admin, experiment_state::Name as State},
};

/// How the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Presence {
    /// There, and its platform finds it well.
    Well,
    /// There, and not well.
    Unwell,
    /// Its agent is away, or can not see it: nothing is known of it.
    Away,
    /// This life of it is over.
    Gone,
}

/// How its fault is.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::experiment) enum Fault {
    /// It was never ordered.
    None,
    /// On its way.
    Coming,
    InForce,
    /// Nothing is heard of it; it is settled in time.
    Unknown(Problem),
    /// It can not be put back.
    Stuck(Problem),
    /// It took effect and is over.
    Over,
    /// It did not take effect, or broke off; nothing of it is in force.
    Failed(Problem),
    /// It must be over by now, and nobody saw how it ended.
    Unseen(Problem),
}

impl Fault {
    /// Nothing of it is in force, or nothing more can be done about it.
    pub(in crate::experiment) const fn is_over(&self) -> bool {
        matches!(self, Self::None | Self::Over | Self::Failed(_) | Self::Unseen(_) | Self::Stuck(_))
    }
}

/// Everything that a decision is made of, besides what is recorded.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::experiment) struct Seen {
    pub(in crate::experiment) now: SystemTime,
    pub(in crate::experiment) admin: Admin,
    pub(in crate::experiment) halted: bool,
    pub(in crate::experiment) target: Presence,
    /// Since when nothing is known of the target.
    pub(in crate::experiment) away_since: Option<SystemTime>,
    /// As many of its group are well as were when it began.
    pub(in crate::experiment) group_is_back: bool,
    pub(in crate::experiment) fault: Fault,
    /// Since when nothing of the fault is in force any more.
    pub(in crate::experiment) over_since: Option<SystemTime>,
    /// Nothing was tried in vain since the last tick.
    pub(in crate::experiment) fresh: bool,
    /// Why it is to end.
    pub(in crate::experiment) abort: Option<String>,
    /// Why its fault was not ordered.
    pub(in crate::experiment) refused: Option<Problem>,
    /// What its health check last said, in this state.
    pub(in crate::experiment) checked: Option<bool>,
    /// What came of its finalize step.
    pub(in crate::experiment) finalized: Option<Result<(), Problem>>,
}

impl Seen {
    /// Why an experiment is to end before its time.
    pub(in crate::experiment) fn cut(&self) -> Option<String> {
        let by_state = (self.admin == Admin::Abort).then_some("the administrative state is ABORT");
        let by_state = if self.halted { Some("the fleet was halted") } else { by_state };
        self.abort.clone().or_else(|| by_state.map(str::to_owned))
    }
}

/// What is to be done about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Effect {
    /// The fault is ordered.
    Order,
    /// The fault is reverted.
    Revert,
    /// The script's health check runs.
    Check,
    /// The finalize step runs.
    Finalize,
}

/// One way of healing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Remedy {
    Revert,
    /// The script's own command.
    Command,
    Recycle,
}

impl Remedy {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Revert => "revert the fault",
            Self::Command => "run the script's own command",
            Self::Recycle => "recycle the target",
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::experiment) enum Next {
    /// Nothing, until there are news, or this time.
    Wait(Option<SystemTime>),
    /// Something that is announced by the state it is in.
    Act(Effect),
    /// Another state, with one line for people.
    Become(State, String),
    /// One line for people, in the state it is in.
    Note(&'static str),
    /// It has failed.
    Fail(Problem),
    /// It will fail: its fault is reverted first.
    Doom(Problem),
    /// One more attempt at self healing.
    Heal(Vec<Remedy>),
}
