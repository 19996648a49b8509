use chaos_kitty::v1::{AllocateMemory, Kill, Restart, Stop, TriggerGc};

use super::*;

const LONGEST: Duration = Duration::from_secs(3600);

fn held(kind: Kind) -> Action {
    Action { duration: Some(Duration::from_secs(1).into()), kind: Some(kind) }
}

fn refused(request: Action) -> Problem {
    action(Some(request), LONGEST).expect_err("a bad action")
}

/// The field that a problem names.
fn field(problem: &Problem) -> &str {
    problem.message.split(':').next().unwrap_or_default()
}

#[test]
fn good_actions_pass() {
    for kind in [
        Kind::Delay(Delay::default()),
        Kind::Memory(AllocateMemory { size_bytes: 1 }),
        Kind::Cpu(SpinCpu { cores: 2, load: 100 }),
        Kind::Error(RaiseError { probability: Some(1.0), ..RaiseError::default() }),
        Kind::Script(RunScript { name: "cpuBurn.sh".to_owned(), ..RunScript::default() }),
        Kind::Stop(Stop::default()),
    ] {
        assert!(action(Some(held(kind.clone())), LONGEST).is_ok(), "{kind:?}");
    }
    let kill = Kill { signal: "SIGKILL".to_owned(), tree: true, ..Kill::default() };
    for kind in [Kind::Kill(kill), Kind::Gc(TriggerGc {}), Kind::Restart(Restart {})] {
        assert!(action(Some(Action { duration: None, kind: Some(kind) }), LONGEST).is_ok());
    }
}

#[test]
fn durations_that_are_none_or_too_long_are_refused() {
    let with = |seconds, nanos| Action {
        duration: Some(pbjson_types::Duration { seconds, nanos }),
        kind: Some(Kind::Delay(Delay::default())),
    };
    for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (1, -1), (0, 1_000_000_000), (i64::MIN, i32::MIN)] {
        let problem = refused(with(seconds, nanos));
        assert_eq!(
            (problem.code, field(&problem)),
            (Code::InvalidArgument, "action.duration"),
            "{seconds} {nanos}"
        );
    }
    assert_eq!(refused(with(3601, 0)).code, Code::DurationTooLong);
    assert_eq!(refused(with(i64::MAX, 999_999_999)).code, Code::DurationTooLong);
    assert!(action(Some(with(3600, 0)), LONGEST).is_ok());
}

#[test]
fn what_is_held_needs_a_duration_and_what_is_not_refuses_one() {
    for kind in [Kind::Delay(Delay::default()), Kind::Stop(Stop::default())] {
        assert!(refused(Action { duration: None, kind: Some(kind) }).hint.contains("--duration"));
    }
    for kind in [Kind::Kill(Kill::default()), Kind::Gc(TriggerGc {}), Kind::Restart(Restart {})] {
        assert_eq!(field(&refused(held(kind))), "action.duration");
    }
}

#[test]
fn parameters_out_of_range_are_named() {
    let error = |probability| RaiseError { probability: Some(probability), ..RaiseError::default() };
    let per_request = Some(Duration::from_secs(1).into());
    let script = |script| held(Kind::Script(script));
    let named = |name: &str| RunScript { name: name.to_owned(), ..RunScript::default() };
    let cases = [
        (held(Kind::Cpu(SpinCpu { cores: 0, load: 101 })), "action.cpu.load"),
        (held(Kind::Cpu(SpinCpu { cores: 4097, load: 0 })), "action.cpu.cores"),
        (held(Kind::Memory(AllocateMemory { size_bytes: 0 })), "action.memory.size_bytes"),
        (held(Kind::Error(error(0.0))), "action.error.probability"),
        (held(Kind::Error(error(1.1))), "action.error.probability"),
        (held(Kind::Error(error(f64::NAN))), "action.error.probability"),
        (held(Kind::Delay(Delay { mode: 7, per_request: None })), "action.delay.mode"),
        (held(Kind::Delay(Delay { mode: 0, per_request })), "action.delay.per_request"),
        (script(named("")), "action.script.name"),
        (script(RunScript { hash: "a".to_owned(), ..named("a") }), "action.script.hash"),
        (script(RunScript { arguments: vec!["a\0b".to_owned()], ..named("a") }), "action.script.arguments"),
        (Action::default(), "action"),
    ];
    for (bad, name) in cases {
        let problem = refused(bad);
        assert_eq!((problem.code, field(&problem)), (Code::InvalidArgument, name));
    }
    assert_eq!(action(None, LONGEST).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn an_unknown_signal_is_refused_with_those_there_are() {
    let kill = Kind::Kill(Kill { signal: "PURR".to_owned(), ..Kill::default() });
    let problem = refused(Action { duration: None, kind: Some(kill) });
    assert_eq!(problem.code, Code::InvalidArgument);
    assert!(format!("{problem}").contains("TERM"), "{problem}");
}

fn request(choice: Option<Choice>) -> UnleashRequest {
    UnleashRequest { choice, ..UnleashRequest::default() }
}

fn group() -> Selector {
    Selector { aggregation_identifier: "nginx".to_owned(), ..Selector::default() }
}

#[test]
fn one_of_a_selection_is_meant_unless_it_says_more() {
    let chosen = whom(&request(Some(Choice::Selector(group()))));
    assert_eq!(chosen, Ok(Whom::Some { selector: group(), amount: Amount::Count(1) }));
}

#[test]
fn a_malformed_choice_is_refused_by_field() {
    let selector = |selector| request(Some(Choice::Selector(selector)));
    let target = |target: &str| request(Some(Choice::Target(target.to_owned())));
    let bad_group = Selector { aggregation_identifier: "a\nb".to_owned(), ..Selector::default() };
    let bad_label = Selector { labels: [(String::new(), "x".to_owned())].into(), ..Selector::default() };
    let cases = [
        (request(None), "choice"),
        (target(""), "target"),
        (UnleashRequest { count: Some(1), ..target("a") }, "count"),
        (UnleashRequest { percent: Some(1.0), ..target("a") }, "percent"),
        (selector(Selector::default()), "selector"),
        (selector(bad_group), "selector.aggregation_identifier"),
        (selector(bad_label), "selector.labels"),
        (UnleashRequest { count: Some(0), ..selector(group()) }, "count"),
        (UnleashRequest { count: Some(1), percent: Some(1.0), ..selector(group()) }, "count"),
        (UnleashRequest { percent: Some(0.0), ..selector(group()) }, "percent"),
        (UnleashRequest { percent: Some(100.1), ..selector(group()) }, "percent"),
        (UnleashRequest { percent: Some(f64::NAN), ..selector(group()) }, "percent"),
        (UnleashRequest { source: "x".repeat(2000), ..target("a") }, "source"),
    ];
    for (bad, name) in cases {
        assert_eq!(whom(&bad).map_err(|problem| field(&problem).to_owned()), Err(name.to_owned()));
    }
}
