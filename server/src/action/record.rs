//! What becomes of an action as reports come in. Pure.

use chaos_kitty::{
    Timestamp, page,
    v1::{ActionReport, ActionStatus, action_state::Name as State},
};

use crate::fleet::is_over;

/// Takes a report in. False: it changes nothing, because it is old, out of order, or the action is over.
pub(super) fn fold(status: &mut ActionStatus, report: &ActionReport) -> bool {
    let (from, to) = (status.state(), report.state());
    if !may_follow(from, to) {
        return false;
    }
    let before = status.clone();
    status.state = to.into();
    status.assumed = false;
    if to == State::Started && status.started_at.is_none() {
        status.started_at = report.at;
    }
    if to == State::Started
        && let (Some(at), Some(remaining)) = (report.at, report.remaining)
    {
        status.deadline = Some(add(at, remaining));
    }
    if is_over(to) {
        status.ended_at = report.at;
        status.end_reason = report.end_reason().into();
    }
    // What was wrong while nothing was known is wrong no longer.
    status.problem = report.problem.clone();
    if report.result.is_some() {
        status.result.clone_from(&report.result);
    }
    for seen in &report.evidence {
        if !status.evidence.contains(seen) {
            status.evidence.push(seen.clone());
        }
    }
    page::shorten(&mut status.evidence);
    *status != before
}

/// Whether a node may say so of an action in this state.
pub(super) const fn may_follow(from: State, to: State) -> bool {
    match to {
        // The server's own.
        State::Unspecified | State::Admitted | State::Unknown => false,
        _ => match from {
            State::Unspecified | State::Admitted | State::Unknown => true,
            State::Accepted => !matches!(to, State::Accepted),
            State::Started => !matches!(to, State::Accepted | State::Refused),
            // A person, or a later try, may put back what was stuck.
            State::Stuck => is_over(to) && !matches!(to, State::Refused),
            State::Reverted | State::Done | State::Failed | State::Refused => false,
        },
    }
}

fn add(at: Timestamp, time: pbjson_types::Duration) -> Timestamp {
    const SECOND: i32 = 1_000_000_000;
    let nanos = at.nanos.saturating_add(time.nanos);
    let seconds = at.seconds.saturating_add(time.seconds).saturating_add(i64::from(nanos.div_euclid(SECOND)));
    Timestamp { seconds, nanos: nanos.rem_euclid(SECOND) }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{Evidence, end_reason::Name as Reason};
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 10] = [
        State::Unspecified,
        State::Admitted,
        State::Accepted,
        State::Started,
        State::Reverted,
        State::Done,
        State::Failed,
        State::Refused,
        State::Unknown,
        State::Stuck,
    ];

    fn report(state: State) -> ActionReport {
        let at = Some(Timestamp { seconds: 100, nanos: 900_000_000 });
        let remaining = Some(pbjson_types::Duration { seconds: 2, nanos: 300_000_000 });
        ActionReport { state: state.into(), at, remaining, ..ActionReport::default() }
    }

    fn status(state: State) -> ActionStatus {
        ActionStatus { state: state.into(), ..ActionStatus::default() }
    }

    #[test]
    fn the_planned_end_is_the_nodes_time_and_what_remains() {
        let mut status = status(State::Accepted);
        assert!(fold(&mut status, &report(State::Started)));
        let deadline = Timestamp { seconds: 103, nanos: 200_000_000 };
        assert_eq!(status.deadline, Some(deadline));
    }

    #[test]
    fn what_was_unknown_is_settled_when_the_agent_is_back() {
        let mut status = status(State::Unknown);
        status.problem = Some(chaos_kitty::v1::Problem::default());
        let back = ActionReport { end_reason: Reason::Lease.into(), ..report(State::Reverted) };
        assert!(fold(&mut status, &back));
        assert_eq!((status.state(), status.end_reason()), (State::Reverted, Reason::Lease));
        assert_eq!(status.problem, None);
    }

    #[test]
    fn evidence_is_gathered_and_bounded() {
        let mut status = status(State::Accepted);
        let seen = |n: usize| Evidence { what: n.to_string(), ..Evidence::default() };
        let many = ActionReport { evidence: (0..100).map(seen).collect(), ..report(State::Started) };
        fold(&mut status, &many);
        fold(&mut status, &many);
        assert_eq!(status.evidence.len(), 64);
    }

    proptest! {
        #[test]
        fn once_over_an_action_stays_as_it_is(steps in prop::collection::vec(0usize..10, 0..40)) {
            let mut status = status(State::Admitted);
            let mut over: Option<ActionStatus> = None;
            for step in steps {
                let changed = fold(&mut status, &report(STATES[step]));
                if let Some(over) = &over {
                    prop_assert!(!changed);
                    prop_assert_eq!(over, &status);
                }
                if is_over(status.state()) {
                    over.get_or_insert_with(|| status.clone());
                }
            }
        }

        #[test]
        fn a_report_that_comes_twice_changes_nothing_the_second_time(from in 0usize..10, to in 0usize..10) {
            let mut status = status(STATES[from]);
            fold(&mut status, &report(STATES[to]));
            prop_assert!(!fold(&mut status, &report(STATES[to])));
        }

        #[test]
        fn no_node_can_bring_an_action_into_a_state_of_the_servers_own(from in 0usize..10, to in 0usize..10) {
            let mut status = status(STATES[from]);
            if fold(&mut status, &report(STATES[to])) {
                prop_assert!(!matches!(status.state(), State::Unspecified | State::Admitted | State::Unknown));
            }
        }
    }
}
