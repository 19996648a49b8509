use chaos_kitty::v1::{AllocateMemory, Delay, SpinCpu, Stop};

use super::*;

const MOMENT: Moment = Moment { now: Timestamp::UNIX_EPOCH, available_memory: 1 << 30, cores: 4, faults: 0 };

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn held(kind: Kind, seconds: u64) -> v1::Action {
    v1::Action { duration: Some(Duration::from_secs(seconds).into()), kind: Some(kind) }
}

fn delay() -> v1::Action {
    held(Kind::Delay(Delay::default()), 60)
}

fn memory(size_bytes: u64) -> v1::Action {
    held(Kind::Memory(AllocateMemory { size_bytes }), 1)
}

fn cpu(cores: u32, load: u32) -> v1::Action {
    held(Kind::Cpu(SpinCpu { cores, load }), 1)
}

fn postgres() -> v1::Target {
    let (id, name) = ("process/web-1/postgres:42".to_owned(), "postgres:42".to_owned());
    v1::Target { id, name, aggregation_identifier: "db".to_owned(), ..Default::default() }
}

fn refused(text: &str, action: &v1::Action, moment: Moment) -> Option<Code> {
    policy(text).check(action, &postgres(), moment).err().map(|problem| problem.code)
}

#[test]
fn an_empty_policy_allows_everything() {
    for action in [delay(), memory(u64::MAX), cpu(0, 0)] {
        assert_eq!(refused("", &action, MOMENT), None);
    }
}

#[test]
fn each_rule_forbids_what_is_over_it_and_nothing_at_it() {
    let over_and_at: &[(&str, v1::Action, v1::Action)] = &[
        ("allow = ['cpu']", delay(), cpu(1, 1)),
        ("deny = ['delay']", delay(), cpu(1, 1)),
        ("deny = ['kill']", held(Kind::Stop(Stop { kill: true }), 1), held(Kind::Stop(Stop::default()), 1)),
        ("max_duration = '1m'", held(Kind::Delay(Delay::default()), 61), delay()),
        ("max_memory = '1MiB'", memory((1 << 20) + 1), memory(1 << 20)),
        ("min_free_memory = '1MiB'", memory((1 << 30) - (1 << 20) + 1), memory((1 << 30) - (1 << 20))),
        ("max_cpu = 150", cpu(2, 76), cpu(2, 75)),
        ("max_cpu = 399", cpu(0, 0), cpu(0, 99)),
    ];
    for (text, over, at) in over_and_at {
        assert_eq!(refused(text, over, MOMENT), Some(Code::PolicyForbids), "{text}");
        assert_eq!(refused(text, at, MOMENT), None, "{text}");
    }
}

#[test]
fn faults_at_a_time_are_bounded() {
    let one = |faults| refused("max_faults = 2", &delay(), Moment { faults, ..MOMENT });
    assert_eq!([one(1), one(2)], [None, Some(Code::PolicyForbids)]);
}

#[test]
fn a_target_is_protected_by_id_name_or_group() {
    for pattern in ["process/*/postgres*", "postgres:*", "db"] {
        assert_eq!(refused(&format!("protect = ['{pattern}']"), &delay(), MOMENT), Some(Code::Protected));
    }
    assert_eq!(refused("protect = ['nginx*']", &delay(), MOMENT), None);
}

#[test]
fn quiet_hours_cover_their_days_and_run_past_midnight() {
    let text = "[[quiet]]\ndays = ['Fri']\nfrom = '18:00'\nto = '08:00'\nzone = 'Europe/Paris'";
    for (moment, quiet) in [
        ("2026-11-20T16:59:59Z", false), // Friday 17:59 in Paris
        ("2026-11-20T17:00:00Z", true),
        ("2026-11-21T06:59:59Z", true), // Saturday 07:59
        ("2026-11-21T07:00:00Z", false),
        ("2026-11-21T18:00:00Z", false), // Saturday evening
    ] {
        let now = moment.parse().unwrap();
        let expected = quiet.then_some(Code::PolicyForbids);
        assert_eq!(refused(text, &delay(), Moment { now, ..MOMENT }), expected, "{moment}");
    }
}

#[test]
fn quiet_days_may_be_spans_and_a_day_ends_at_24() {
    let text = "[[quiet]]\ndays = ['Fri-Sat', 'Monday']\nfrom = '20:00'\nto = '24:00'\nzone = 'UTC'";
    for (moment, quiet) in [
        ("2026-11-20T23:59:59Z", true), // Friday
        ("2026-11-21T00:00:00Z", false),
        ("2026-11-21T20:00:00Z", true),
        ("2026-11-22T20:00:00Z", false), // Sunday
        ("2026-11-23T20:00:00Z", true),
    ] {
        let now = moment.parse().unwrap();
        let expected = quiet.then_some(Code::PolicyForbids);
        assert_eq!(refused(text, &delay(), Moment { now, ..MOMENT }), expected, "{moment}");
    }
    assert_eq!(policy(text).limits(), ["quiet hours: Mon,Fri,Sat 20:00-24:00, UTC"]);
}

#[test]
fn a_malformed_policy_is_refused_with_line_and_column() {
    for (text, place, what) in [
        ("deny = []\nmax_durations = '1m'", "line 2, column 1", "max_durations"),
        ("max_duration = 'soon'", "line 1, column 16", "500ms"),
        ("deny = ['delay', 'chaos']", "line 1, column", "write delay"),
        ("max_cpu = -1", "line 1, column 11", "-1"),
        ("[[quiet]]\nfrom = '25:00'\nto = '01:00'", "line 2, column 8", "from 00:00 to 24:00"),
        ("[[quiet]]\ndays = ['Mo']\nfrom = '20:00'\nto = '01:00'", "line 2, column 8", "write Mon, Tue"),
        ("[[quiet]]\nfrom = '20:00'\nto = '01:00'\nzone = 'Mars/Olympus'", "line 4, column 8", "time zone"),
        ("protect = ['']", "line 1, column", "empty"),
        ("max_faults = ", "line 1, column", ""),
    ] {
        let error = text.parse::<Policy>().expect_err(text).to_string();
        assert!(error.contains(place) && error.contains(what), "{text}: {error}");
    }
}

#[test]
fn what_is_forbidden_is_told_in_a_sentence_each() {
    assert!(Policy::default().limits().is_empty());
    let told =
        policy("deny = ['script', 'kill']\nprotect = ['db*']\nmax_duration = '10m'\nmax_faults = 3").limits();
    assert_eq!(
        told,
        [
            "actions: kill, script",
            "targets: db*",
            "a fault of more than 600s",
            "more than 3 faults at a time"
        ]
    );
}

#[test]
fn programs_of_the_host_are_run_only_where_the_policy_names_them() {
    let allows = |text: &str| policy(text).allows_commands(&postgres()).map_err(|problem| problem.code);
    for text in ["", "allow = ['delay']", "deny = ['command']", "allow = ['command']\ndeny = ['command']"] {
        assert_eq!(allows(text), Err(Code::PolicyForbids), "{text}");
    }
    assert_eq!(allows("allow = ['command']"), Ok(()));
    assert_eq!(allows("allow = ['command']\nprotect = ['*postgres*']"), Err(Code::Protected));
    // It does not allow any action by that.
    assert_eq!(refused("allow = ['command']", &delay(), MOMENT), Some(Code::PolicyForbids));
}

#[test]
fn what_heals_is_subject_to_the_rules_on_actions_and_targets_alone() {
    let allows = |text: &str| policy(text).allows_on(Name::Kill, &postgres()).map_err(|problem| problem.code);
    assert_eq!(allows("[[quiet]]\nfrom = '00:00'\nto = '23:59'\nzone = 'UTC'"), Ok(()));
    assert_eq!(allows("deny = ['kill']"), Err(Code::PolicyForbids));
    assert_eq!(allows("protect = ['db']"), Err(Code::Protected));
}
