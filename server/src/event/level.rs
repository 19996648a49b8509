//! How an event is meant for people.

use chaos_kitty::v1::{
    action_state::Name as Action,
    admin_state::Name as Admin,
    event::{Kind, level::Name as Level},
    experiment_state::Name as State,
    verdict::Name as Verdict,
};

/// A function of the event alone.
pub(super) fn level(kind: &Kind) -> Level {
    match kind {
        Kind::Experiment(experiment) => match experiment.experiment_state() {
            State::Created | State::Starting | State::Finalizing => Level::Unspecified,
            State::Started | State::SelfHealing => Level::Warn,
            State::Finished => Level::Good,
            State::Failed => Level::Error,
        },
        Kind::Suite(suite) => match suite.verdict() {
            Verdict::Passed => Level::Good,
            Verdict::Aborted => Level::Warn,
            Verdict::Failed | Verdict::Errored => Level::Error,
            Verdict::Unspecified | Verdict::Running => Level::Unspecified,
        },
        Kind::Action(action) if action.state() == Action::Stuck => Level::Error,
        Kind::Halted(_) => Level::Warn,
        Kind::Resumed(_) => Level::Good,
        Kind::AdminState(changed) if changed.state() == Admin::Started => Level::Good,
        Kind::AdminState(_) => Level::Warn,
        Kind::Heartbeat(_) => Level::Unspecified,
        Kind::Action(_)
        | Kind::AgentJoined(_)
        | Kind::AgentLeft(_)
        | Kind::TargetAdded(_)
        | Kind::TargetChanged(_)
        | Kind::TargetRemoved(_)
        | Kind::OperationRound(_)
        | Kind::OperationChanged(_) => Level::Unspecified,
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{ActionStatus, Experiment, event::Resumed};

    use super::*;

    #[test]
    fn what_is_hurt_is_a_warning_what_is_well_again_is_good_and_what_stays_hurt_an_error() {
        let experiment = |state: State| {
            Kind::Experiment(Experiment { experiment_state: state.into(), ..Default::default() })
        };
        let action = |state: Action| Kind::Action(ActionStatus { state: state.into(), ..Default::default() });
        for (kind, expected) in [
            (experiment(State::Created), Level::Unspecified),
            (experiment(State::Started), Level::Warn),
            (experiment(State::SelfHealing), Level::Warn),
            (experiment(State::Finished), Level::Good),
            (experiment(State::Failed), Level::Error),
            (action(Action::Started), Level::Unspecified),
            (action(Action::Stuck), Level::Error),
            (Kind::Resumed(Resumed::default()), Level::Good),
        ] {
            assert_eq!(level(&kind), expected, "{kind:?}");
        }
    }
}
