//! What is written down of an experiment's life.

use std::time::{Duration, SystemTime};

use chaos_kitty::{
    Timestamp,
    v1::{Experiment, MethodParameters, experiment::Transition, experiment_state::Name as State},
};

use super::Remedy;

/// Writes a change of state down.
pub(in crate::experiment) fn enter(experiment: &mut Experiment, state: State, reason: &str, now: SystemTime) {
    let at = Some(Timestamp::from(now));
    experiment.experiment_state = state.into();
    experiment.transitions.push(Transition { state: state.into(), at, reason: reason.to_owned() });
    if state == State::Started {
        experiment.start_time = at;
    }
    if is_over(state) {
        experiment.ended_at = at;
        experiment.was_self_healing_required = Some(experiment.self_healing_counter > 0);
    }
}

/// Writes a line for people down.
pub(in crate::experiment) fn note(experiment: &mut Experiment, reason: &str, now: SystemTime) {
    let (state, at) = (experiment.experiment_state, Some(Timestamp::from(now)));
    experiment.transitions.push(Transition { state, at, reason: reason.to_owned() });
}

/// Writes down one more attempt at self healing.
pub(in crate::experiment) fn attempt(experiment: &mut Experiment, remedies: &[Remedy], now: SystemTime) {
    experiment.self_healing_counter += 1;
    experiment.last_self_healing_time = Some(Timestamp::from(now));
    let words: Vec<_> = remedies.iter().map(|remedy| remedy.word()).collect();
    let what =
        if words.is_empty() { "wait, for it has no remedy of its own".to_owned() } else { words.join(", ") };
    note(experiment, &format!("attempt {}: {what}", experiment.self_healing_counter), now);
}

/// When its present state began; notes within it do not count.
pub(super) fn since(experiment: &Experiment) -> Option<SystemTime> {
    let state = experiment.experiment_state;
    let first = experiment.transitions.iter().rev().take_while(|it| it.state == state).last()?;
    first.at.and_then(Timestamp::system_time)
}

/// Whether nothing more happens to an experiment in this state.
pub(in crate::experiment) const fn is_over(state: State) -> bool {
    matches!(state, State::Finished | State::Failed)
}

/// The times of its parameters.
pub(super) struct Times {
    pub(super) minimum: Duration,
    pub(super) maximum: Duration,
    pub(super) finalization: Duration,
    pub(super) interval: Duration,
    pub(super) retries: u32,
}

impl Times {
    pub(super) fn of(experiment: &Experiment) -> Self {
        let none = MethodParameters::default();
        let parameters = experiment.parameters.as_ref().unwrap_or(&none);
        let time = |wire: Option<pbjson_types::Duration>| {
            wire.and_then(|wire| Duration::try_from(wire).ok()).unwrap_or_default()
        };
        Self {
            minimum: time(parameters.minimum_duration),
            maximum: time(parameters.maximum_duration),
            finalization: time(parameters.finalization_duration),
            interval: time(parameters.self_healing_interval),
            retries: parameters.self_healing_retries.unwrap_or_default(),
        }
    }
}
