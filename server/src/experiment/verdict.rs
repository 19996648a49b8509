//! The verdict on a suite whose experiments are over: whether the service bore what was done to it. Pure.

use chaos_kitty::{
    Code,
    v1::{
        Experiment, SuiteRecord, end_reason::Name as Reason, experiment_state::Name as State,
        suite_record::ProbeNews, verdict::Name as Verdict,
    },
};

/// The verdict, and one line for people: what decided it. The record has its experiments.
///
/// A target that did not recover is the worst that can be said. What was ended before its time was not tried to its end:
/// ABORTED, though the steady state may have been broken before. What is known to have broken says more than what could not
/// be done: FAILED goes before ERRORED.
pub(super) fn judge(record: &SuiteRecord) -> (Verdict, String) {
    let experiments = &record.experiments;
    let ended = |verdict: Verdict| {
        let mut of_it = experiments.iter().filter_map(outcome).filter(|(it, _)| *it == verdict);
        let (_, reason) = of_it.next()?;
        Some((verdict, with_others(reason, of_it.count())))
    };
    let broken = |stops: bool| record.probes.iter().find(|news| news.stop_condition == stops && !news.holds);
    let unsteady = broken(false).map(unsteady);
    let aborted = broken(true).map(stopped_by).or_else(|| aborted(experiments));
    let aborted = aborted.map(|why| match &unsteady {
        Some(unsteady) => format!("{why}; besides, {unsteady}"),
        None => why,
    });
    let judged = ended(Verdict::Failed)
        .or_else(|| Some((Verdict::Aborted, aborted?)))
        .or_else(|| Some((Verdict::Failed, unsteady?)))
        .or_else(|| ended(Verdict::Errored));
    if let Some(judged) = judged {
        return judged;
    }
    if experiments.is_empty() {
        return (Verdict::Errored, "it had no experiments".to_owned());
    }
    let steady = record.suite.as_ref().is_some_and(|suite| !suite.steady_state.is_empty());
    let held = if steady { ", and the steady state held before, while and after" } else { "" };
    let targets = if experiments.len() == 1 { "the target is" } else { "all targets are" };
    (Verdict::Passed, format!("{targets} well again{held}"))
}

/// What speaks against an experiment that is over. `None`: nothing.
fn outcome(experiment: &Experiment) -> Option<(Verdict, String)> {
    let was_in_force = experiment.transitions.iter().any(|it| it.state() == State::Started);
    let told = |what: &str| format!("{} on {}: {what}", experiment.experiment_method_name, name(experiment));
    if experiment.experiment_state() == State::Finished {
        let lost = match experiment.end_reason() {
            Reason::Lease => "its fault was ended by the lease, for its agent was away",
            Reason::AgentGone => "its fault was ended early, for its agent was gone",
            Reason::GuardGone => "its fault was ended early, for its guard was gone",
            Reason::Shutdown => "its fault was ended early, for its agent was shut down",
            _ => return None,
        };
        return Some((Verdict::Errored, told(lost)));
    }
    let code = experiment.problem.as_ref().and_then(|problem| Code::from_number(problem.code));
    let not_recovered = matches!(code, Some(Code::HealingFailed | Code::TargetGone | Code::Stuck));
    let verdict = if was_in_force && not_recovered { Verdict::Failed } else { Verdict::Errored };
    let why = experiment.problem.as_ref().map_or("it is not known how it ended", |it| it.message.as_str());
    Some((verdict, told(why)))
}

/// Why some of them were ended before their time. `None`: none was.
fn aborted(experiments: &[Experiment]) -> Option<String> {
    let why = |experiment: &Experiment| {
        let halted = experiment.end_reason() == Reason::Halted;
        if halted { Some("the fleet was halted".to_owned()) } else { experiment.aborted.clone() }
    };
    let mut reasons = experiments.iter().filter_map(|experiment| Some((experiment, why(experiment)?)));
    let (first, why) = reasons.next()?;
    let reason = format!("{} on {}: {why}", first.experiment_method_name, name(first));
    Some(with_others(reason, reasons.count()))
}

pub(super) fn stopped_by(news: &ProbeNews) -> String {
    format!("the stop condition {:?} does not hold: {}", news.name, news.message)
}

fn unsteady(news: &ProbeNews) -> String {
    format!("the steady state {:?} did not hold: {}", news.name, news.message)
}

fn with_others(reason: String, others: usize) -> String {
    if others == 0 { reason } else { format!("{reason}; and {others} more") }
}

fn name(experiment: &Experiment) -> &str {
    experiment.container.as_ref().map_or("", |target| target.name.as_str())
}

#[cfg(test)]
mod tests {
    use chaos_kitty::{
        Problem,
        v1::{ExperimentSuite, Probe, Target, experiment::Transition},
    };
    use proptest::prelude::*;

    use super::*;

    fn finished() -> Experiment {
        let change = |state: State| Transition { state: state.into(), ..Default::default() };
        Experiment {
            experiment_method_name: "delay".to_owned(),
            container: Some(Target { name: "web:1".to_owned(), ..Default::default() }),
            experiment_state: State::Finished.into(),
            end_reason: Reason::Deadline.into(),
            transitions: [State::Created, State::Starting, State::Started, State::Finished]
                .map(change)
                .to_vec(),
            ..Default::default()
        }
    }

    fn failed(code: Code, in_force: bool) -> Experiment {
        let mut experiment = finished();
        experiment.experiment_state = State::Failed.into();
        experiment.problem = Some(Problem::new(code, "it went wrong").into());
        experiment.transitions.retain(|change| in_force || change.state() != State::Started);
        experiment
    }

    fn news(name: &str, stop_condition: bool, holds: bool) -> ProbeNews {
        ProbeNews {
            name: name.to_owned(),
            holds,
            message: "the value is 9".to_owned(),
            stop_condition,
            at: None,
        }
    }

    fn record(experiments: Vec<Experiment>, probes: Vec<ProbeNews>) -> SuiteRecord {
        let suite = ExperimentSuite { steady_state: vec![Probe::default()], ..Default::default() };
        SuiteRecord { suite: Some(suite), experiments, probes, ..Default::default() }
    }

    #[test]
    fn each_outcome_has_its_verdict_and_names_what_decided_it() {
        let stopped = Experiment { aborted: Some("it was stopped".to_owned()), ..finished() };
        let ended = |reason: Reason| Experiment { end_reason: reason.into(), ..finished() };
        let steady = vec![news("page", false, true)];
        for (experiment, probes, verdict, words) in [
            (finished(), steady.clone(), Verdict::Passed, "the steady state held"),
            (
                finished(),
                vec![news("page", false, false)],
                Verdict::Failed,
                "\"page\" did not hold: the value is 9",
            ),
            (
                finished(),
                vec![news("errors", true, false)],
                Verdict::Aborted,
                "\"errors\" does not hold: the value is 9",
            ),
            (stopped, steady.clone(), Verdict::Aborted, "delay on web:1: it was stopped"),
            (ended(Reason::Halted), steady.clone(), Verdict::Aborted, "halted"),
            (ended(Reason::Lease), steady.clone(), Verdict::Errored, "lease"),
            (failed(Code::HealingFailed, true), steady.clone(), Verdict::Failed, "it went wrong"),
            (failed(Code::TargetGone, true), steady.clone(), Verdict::Failed, "it went wrong"),
            (failed(Code::TargetAway, true), steady.clone(), Verdict::Errored, "it went wrong"),
            (failed(Code::BrokeOff, true), steady.clone(), Verdict::Errored, "it went wrong"),
            (failed(Code::DidNotStart, false), steady.clone(), Verdict::Errored, "it went wrong"),
            (failed(Code::TargetGone, false), steady, Verdict::Errored, "it went wrong"),
        ] {
            let (judged, reason) = judge(&record(vec![finished(), experiment], probes));
            assert_eq!(judged, verdict, "{reason}");
            assert!(reason.contains(words), "{words}: {reason}");
        }
    }

    fn any_experiment() -> impl Strategy<Value = Experiment> {
        prop::sample::select(vec![
            finished(),
            finished(),
            Experiment { aborted: Some("it was stopped".to_owned()), ..finished() },
            Experiment { end_reason: Reason::Lease.into(), ..finished() },
            failed(Code::HealingFailed, true),
            failed(Code::DidNotStart, false),
            failed(Code::NoAnswer, true),
        ])
    }

    fn any_news() -> impl Strategy<Value = ProbeNews> {
        (any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(stops, holds)| news("p", stops, holds))
    }

    proptest! {
        #[test]
        fn passed_is_only_what_nothing_speaks_against_in_any_order(
            experiments in prop::collection::vec(any_experiment(), 1..5),
            probes in prop::collection::vec(any_news(), 0..5),
        ) {
            let (verdict, reason) = judge(&record(experiments.clone(), probes.clone()));
            prop_assert!(!matches!(verdict, Verdict::Unspecified | Verdict::Running) && !reason.is_empty());
            let flawless = experiments.iter().all(|it| *it == finished()) && probes.iter().all(|news| news.holds);
            prop_assert_eq!(verdict == Verdict::Passed, flawless);
            let cut = experiments.iter().any(|it| it.aborted.is_some())
                || probes.iter().any(|news| news.stop_condition && !news.holds);
            let unrecovered = experiments.contains(&failed(Code::HealingFailed, true));
            prop_assert_eq!(verdict == Verdict::Aborted, cut && !unrecovered);
            let (mut turned, mut other) = (experiments, probes);
            turned.reverse();
            other.reverse();
            prop_assert_eq!(judge(&record(turned, other)).0, verdict);
        }
    }
}
