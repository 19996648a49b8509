use chaos_kitty::v1::{MethodParameters, Target};
use proptest::prelude::*;

use super::*;
use crate::experiment::method::{Commands, Methods};

const START: SystemTime = SystemTime::UNIX_EPOCH;

fn method(name: &str) -> Method {
    Method::clone(Methods::new(&[]).get(name).unwrap())
}

/// A script for pets: it has commands of its own for everything.
fn script() -> Method {
    let commands = Commands { hash: "ab".to_owned(), heals: true, finalizes: true };
    let mut script = method("delay");
    script.health = Health::Script;
    script.script = Some(commands);
    script
}

/// On the target `t`: healthy from 10 s on, healed after 100 s, every 50 s, twice; finalized after 5 s.
fn experiment(cattle: bool) -> Experiment {
    let seconds = |seconds| Some(Duration::from_secs(seconds).into());
    let target = Target { name: "t".to_owned(), cattle, ..Target::default() };
    let mut experiment = Experiment {
        container: Some(target),
        parameters: Some(MethodParameters {
            minimum_duration: seconds(10),
            maximum_duration: seconds(100),
            finalization_duration: seconds(5),
            self_healing_interval: seconds(50),
            self_healing_retries: Some(2),
            kind: None,
        }),
        ..Experiment::default()
    };
    enter(&mut experiment, State::Created, "", START);
    experiment
}

fn in_state(state: State, cattle: bool) -> Experiment {
    let mut experiment = experiment(cattle);
    enter(&mut experiment, state, "", START);
    experiment
}

/// A healthy target under its fault, after so many seconds.
fn seen(seconds: u64) -> Seen {
    Seen {
        now: START + Duration::from_secs(seconds),
        admin: Admin::Started,
        halted: false,
        target: Presence::Well,
        away_since: None,
        group_is_back: false,
        fault: Fault::InForce,
        over_since: None,
        fresh: true,
        abort: None,
        refused: None,
        checked: None,
        finalized: None,
    }
}

fn problem(code: Code) -> Problem {
    Problem::new(code, "it went wrong")
}

fn becomes(next: &Next) -> Option<State> {
    match next {
        Next::Become(state, _) => Some(*state),
        Next::Fail(_) => Some(State::Failed),
        Next::Heal(_) => Some(State::SelfHealing),
        _ => None,
    }
}

fn wait(seconds: u64) -> Next {
    Next::Wait(Some(START + Duration::from_secs(seconds)))
}

#[test]
fn a_created_one_begins_at_the_next_tick_if_the_administration_admits_it() {
    let created = experiment(false);
    let none = |fresh| Seen { fault: Fault::None, fresh, ..seen(0) };
    let next_in = |admin| next(&created, &method("delay"), &Seen { admin, ..none(true) });
    assert_eq!(becomes(&next_in(Admin::Started)), Some(State::Starting));
    assert_eq!(next(&created, &method("delay"), &none(false)), Next::Wait(None));
    assert_eq!(next_in(Admin::Paused), Next::Wait(None));
    for admin in [Admin::Drain, Admin::Abort] {
        assert!(matches!(next_in(admin), Next::Fail(problem) if problem.code == Code::NotAdmitted));
    }
    let stale = Seen { now: START + STALE + Duration::from_secs(1), ..none(true) };
    assert!(
        matches!(next(&created, &method("delay"), &stale), Next::Fail(problem) if problem.code == Code::NotAdmitted)
    );
}

#[test]
fn nothing_is_ordered_on_a_target_that_is_not_well() {
    let starting = in_state(State::Starting, false);
    let next_of = |target| next(&starting, &method("delay"), &Seen { target, fault: Fault::None, ..seen(0) });
    assert_eq!(next_of(Presence::Well), Next::Act(Effect::Order));
    for target in [Presence::Unwell, Presence::Gone] {
        assert!(matches!(next_of(target), Next::Fail(problem) if problem.code == Code::DidNotStart));
    }
}

#[test]
fn an_order_that_waits_for_agents_to_come_back_is_tried_again_and_any_other_refusal_fails() {
    let starting = in_state(State::Starting, false);
    let next_of = |code| {
        let seen = Seen { fault: Fault::None, refused: Some(problem(code)), ..seen(0) };
        next(&starting, &method("delay"), &seen)
    };
    assert_eq!(next_of(Code::Settling), Next::Act(Effect::Order));
    assert_eq!(next_of(Code::AgentUnreachable), Next::Act(Effect::Order));
    assert_eq!(next_of(Code::TooFewSurvivors), Next::Fail(problem(Code::TooFewSurvivors)));
}

#[test]
fn an_order_whose_outcome_is_unknown_is_reverted_and_fails_then() {
    let mut starting = in_state(State::Starting, false);
    let unknown = Seen { fault: Fault::Unknown(problem(Code::NoAnswer)), ..seen(9) };
    assert_eq!(next(&starting, &method("delay"), &unknown), Next::Doom(problem(Code::NoAnswer)));
    starting.problem = Some(problem(Code::NoAnswer).into());
    assert_eq!(next(&starting, &method("delay"), &unknown), Next::Act(Effect::Revert));
    let over = Seen { fault: Fault::Over, ..seen(20) };
    assert_eq!(next(&starting, &method("delay"), &over), Next::Fail(problem(Code::NoAnswer)));
    starting.problem = None;
    let lost = Seen { fault: Fault::Unknown(problem(Code::ConnectionLost)), ..seen(9) };
    assert_eq!(next(&starting, &method("delay"), &lost), Next::Wait(None), "its agent may come back with it");
}

#[test]
fn before_the_minimum_nothing_is_concluded() {
    let started = in_state(State::Started, false);
    for target in [Presence::Well, Presence::Gone] {
        assert_eq!(next(&started, &method("delay"), &Seen { target, ..seen(9) }), wait(10));
    }
}

#[test]
fn a_healthy_pet_is_put_back_before_it_is_finalized() {
    let started = in_state(State::Started, false);
    assert_eq!(next(&started, &method("delay"), &seen(10)), Next::Act(Effect::Revert));
    let over = Seen { fault: Fault::Over, ..seen(10) };
    assert_eq!(becomes(&next(&started, &method("delay"), &over)), Some(State::Finalizing));
}

#[test]
fn cattle_is_well_when_its_life_is_over_and_its_group_is_as_large_as_it_was() {
    let started = in_state(State::Started, true);
    let killed = |target, group_is_back| {
        let seen = Seen { target, group_is_back, fault: Fault::Over, ..seen(10) };
        becomes(&next(&started, &method("killProcess"), &seen))
    };
    assert_eq!(killed(Presence::Gone, true), Some(State::Finalizing));
    assert_eq!(killed(Presence::Gone, false), None);
    assert_eq!(killed(Presence::Well, true), None, "it did not die");
    assert_eq!(killed(Presence::Away, true), None, "nothing is known of it");
}

#[test]
fn a_pet_whose_supervisor_starts_it_again_is_well_when_its_group_is_as_large_as_it_was() {
    let started = in_state(State::Started, false);
    let over = |group_is_back| Seen { fault: Fault::Over, target: Presence::Gone, group_is_back, ..seen(20) };
    for name in ["restartUnit", "stopContainer", "killContainer"] {
        assert_eq!(next(&started, &method(name), &over(false)), wait(100), "{name}");
        assert_eq!(becomes(&next(&started, &method(name), &over(true))), Some(State::Finalizing), "{name}");
    }
}

#[test]
fn a_scaled_down_group_is_well_when_it_is_as_large_as_it_was_with_or_without_the_target() {
    let started = in_state(State::Started, true);
    for target in [Presence::Well, Presence::Gone] {
        let smaller = Seen { target, fault: Fault::Over, ..seen(20) };
        assert_eq!(next(&started, &method("scaleDown"), &smaller), wait(100), "{target:?}");
        let whole = Seen { group_is_back: true, ..smaller };
        assert_eq!(
            becomes(&next(&started, &method("scaleDown"), &whole)),
            Some(State::Finalizing),
            "{target:?}"
        );
    }
    let away = Seen { target: Presence::Away, group_is_back: true, fault: Fault::Over, ..seen(20) };
    assert_eq!(becomes(&next(&started, &method("scaleDown"), &away)), None, "nothing is known of it");
}

#[test]
fn who_is_away_is_waited_for_and_costs_no_attempt_at_healing() {
    let away = |seconds, since| Seen {
        target: Presence::Away,
        away_since: Some(START + Duration::from_secs(since)),
        fault: Fault::Unseen(problem(Code::NoAnswer)),
        ..seen(seconds)
    };
    for state in [State::Starting, State::Started, State::SelfHealing] {
        let mut one = in_state(state, false);
        assert_eq!(next(&one, &method("delay"), &away(90, 90)), Next::Note(AWAY), "{state:?}");
        note(&mut one, AWAY, START + Duration::from_secs(90));
        // As long as the experiment may last: 100 s from when it was away.
        assert_eq!(next(&one, &method("delay"), &away(189, 90)), wait(190), "{state:?}");
        let Next::Doom(gave_up) = next(&one, &method("delay"), &away(190, 90)) else { panic!("{state:?}") };
        assert_eq!(gave_up.code, Code::TargetAway);
        let back = Seen { fault: Fault::Over, ..seen(120) };
        assert_eq!(next(&one, &method("delay"), &back), Next::Note(BACK), "{state:?}");
    }
}

#[test]
fn notes_move_no_time() {
    let mut started = in_state(State::Started, false);
    note(&mut started, AWAY, START + Duration::from_secs(5));
    note(&mut started, BACK, START + Duration::from_secs(8));
    assert_eq!(next(&started, &method("delay"), &seen(9)), wait(10));
}

#[test]
fn a_fault_that_broke_off_fails_unless_its_target_died() {
    let started = in_state(State::Started, true);
    let failed = |code| Seen { fault: Fault::Failed(problem(code)), ..seen(3) };
    assert_eq!(
        next(&started, &method("delay"), &failed(Code::BrokeOff)),
        Next::Fail(problem(Code::BrokeOff))
    );
    assert_eq!(next(&started, &method("delay"), &failed(Code::TargetGone)), wait(10));
    let unseen = Seen { fault: Fault::Unseen(problem(Code::NoAnswer)), ..seen(10) };
    assert_eq!(becomes(&next(&started, &method("delay"), &unseen)), Some(State::Finalizing), "it is well");
}

#[test]
fn a_pet_that_is_gone_fails() {
    let started = in_state(State::Started, false);
    let gone = Seen { target: Presence::Gone, fault: Fault::Over, ..seen(10) };
    assert!(
        matches!(next(&started, &method("delay"), &gone), Next::Doom(problem) if problem.code == Code::TargetGone)
    );
}

#[test]
fn what_is_not_healthy_some_time_after_its_fault_is_healed_and_at_once_when_it_is_aborted() {
    let started = in_state(State::Started, false);
    let ill = |seconds| Seen { target: Presence::Unwell, ..seen(seconds) };
    assert_eq!(next(&started, &method("delay"), &ill(99)), wait(100));
    // The fault ends by itself about now.
    assert_eq!(next(&started, &method("delay"), &ill(100)), wait(110));
    let over = |seconds| {
        let over_since = Some(START + Duration::from_secs(101));
        Seen { fault: Fault::Over, over_since, ..ill(seconds) }
    };
    assert_eq!(next(&started, &method("delay"), &over(102)), wait(111));
    let well = Seen { target: Presence::Well, ..over(102) };
    assert_eq!(becomes(&next(&started, &method("delay"), &well)), Some(State::Finalizing));
    let Next::Become(State::SelfHealing, reason) = next(&started, &method("delay"), &over(111)) else {
        panic!("it is not well")
    };
    assert!(reason.contains("its fault is over"), "{reason}");
    assert_eq!(becomes(&next(&started, &method("delay"), &ill(110))), Some(State::SelfHealing));
    let long_ago = Seen { over_since: Some(START), ..over(100) };
    assert_eq!(becomes(&next(&started, &method("delay"), &long_ago)), Some(State::SelfHealing));
    let aborted = Seen { admin: Admin::Abort, ..seen(1) };
    assert_eq!(becomes(&next(&started, &method("delay"), &aborted)), Some(State::SelfHealing));
    let stopped = Seen { abort: Some("stopped".to_owned()), ..seen(1) };
    assert_eq!(becomes(&next(&started, &method("delay"), &stopped)), Some(State::SelfHealing));
}

#[test]
fn healing_is_tried_again_after_the_interval_and_fails_after_the_retries() {
    let mut healing = in_state(State::SelfHealing, false);
    let ill = |seconds| Seen { target: Presence::Unwell, fault: Fault::Over, ..seen(seconds) };
    let delay = method("delay");
    for (seconds, again) in [(100, 149), (150, 199)] {
        let Next::Heal(remedies) = next(&healing, &delay, &ill(seconds)) else { panic!("at {seconds}") };
        attempt(&mut healing, &remedies, ill(seconds).now);
        assert_eq!(next(&healing, &delay, &ill(again)), wait(again + 1));
    }
    let Next::Doom(problem) = next(&healing, &delay, &ill(200)) else { panic!("no retry is left") };
    assert_eq!(problem.code, Code::HealingFailed);
    let healthy = Seen { fault: Fault::Over, ..seen(160) };
    assert_eq!(becomes(&next(&healing, &delay, &healthy)), Some(State::Finalizing));
}

#[test]
fn a_fault_is_reverted_first_and_cattle_recycled_when_that_was_not_enough_unless_halted() {
    let remedies =
        |experiment: &Experiment, method: &Method, seen: Seen| match next(experiment, method, &seen) {
            Next::Heal(remedies) => remedies,
            other => panic!("{other:?}"),
        };
    let mut cow = in_state(State::SelfHealing, true);
    let ill = || Seen { target: Presence::Unwell, ..seen(100) };
    assert_eq!(remedies(&cow, &method("delay"), ill()), [Remedy::Revert]);
    let over = || Seen { fault: Fault::Over, ..ill() };
    assert_eq!(remedies(&cow, &method("killProcess"), over()), [Remedy::Recycle]);
    let halted = Seen { halted: true, admin: Admin::Abort, ..over() };
    assert_eq!(remedies(&cow, &method("killProcess"), halted), []);
    attempt(&mut cow, &[Remedy::Revert], START);
    assert_eq!(remedies(&cow, &method("delay"), over()), [Remedy::Recycle]);
    let pet = in_state(State::SelfHealing, false);
    assert_eq!(remedies(&pet, &script(), ill()), [Remedy::Revert, Remedy::Command]);
    let gone = Seen { target: Presence::Gone, ..over() };
    assert_eq!(remedies(&cow, &method("killProcess"), gone), [], "nothing is there to be recycled");
}

#[test]
fn a_script_is_asked_for_its_health_once_a_tick() {
    let started = in_state(State::Started, false);
    let next_of = |fresh, checked| next(&started, &script(), &Seen { fresh, checked, ..seen(10) });
    assert_eq!(next_of(true, None), Next::Act(Effect::Check));
    assert_eq!(next_of(false, Some(false)), wait(100));
    assert_eq!(next_of(true, Some(true)), Next::Act(Effect::Revert));
}

#[test]
fn finalizing_waits_and_its_outcome_decides() {
    let finalizing = in_state(State::Finalizing, false);
    let next_of = |seconds, finalized| {
        next(&finalizing, &script(), &Seen { fault: Fault::Over, finalized, ..seen(seconds) })
    };
    assert_eq!(next_of(4, None), wait(5));
    assert_eq!(next_of(5, None), Next::Act(Effect::Finalize));
    assert_eq!(becomes(&next_of(5, Some(Ok(())))), Some(State::Finished));
    assert_eq!(next_of(5, Some(Err(problem(Code::ConnectionLost)))), Next::Act(Effect::Finalize));
    assert_eq!(becomes(&next_of(5, Some(Err(problem(Code::HealingFailed))))), Some(State::Failed));
    let away = Seen { fault: Fault::Over, target: Presence::Away, ..seen(5) };
    let mut noted = finalizing.clone();
    note(&mut noted, AWAY, START);
    assert!(matches!(next(&noted, &script(), &away), Next::Wait(_)), "its agent may come back");
    let forgotten = 5 + REMEMBERED.as_secs() + 1;
    assert!(matches!(next_of(forgotten, None), Next::Fail(problem) if problem.code == Code::OutcomeUnknown));
    let other = Seen { fault: Fault::Over, ..seen(0) };
    assert_eq!(becomes(&next(&finalizing, &method("delay"), &other)), Some(State::Finished));
}

#[test]
fn a_fault_that_can_not_be_put_back_fails_and_says_so() {
    for state in [State::Starting, State::Started, State::SelfHealing, State::Finalizing] {
        let stuck = Seen { fault: Fault::Stuck(problem(Code::Stuck)), ..seen(50) };
        assert_eq!(next(&in_state(state, false), &method("delay"), &stuck), Next::Fail(problem(Code::Stuck)));
    }
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let admin =
        prop::sample::select(vec![Admin::Started, Admin::Started, Admin::Paused, Admin::Drain, Admin::Abort]);
    let target = prop::sample::select(vec![Presence::Well, Presence::Unwell, Presence::Away, Presence::Gone]);
    let fault = prop::sample::select(vec![
        Fault::None,
        Fault::Coming,
        Fault::InForce,
        Fault::Over,
        Fault::Unknown(problem(Code::NoAnswer)),
        Fault::Failed(problem(Code::TargetGone)),
        Fault::Unseen(problem(Code::NoAnswer)),
        Fault::Stuck(problem(Code::Stuck)),
    ]);
    let finalized = prop::sample::select(vec![None, Some(Ok(())), Some(Err(problem(Code::ConnectionLost)))]);
    let refused = prop::sample::select(vec![
        None,
        None,
        Some(problem(Code::Settling)),
        Some(problem(Code::LimitReached)),
    ]);
    let checked = prop::sample::select(vec![None, Some(true), Some(false)]);
    let flags = (prop::bool::weighted(0.1), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    (0u64..60, admin, target, fault, finalized, refused, checked, flags).prop_map(
        |(gap, admin, target, fault, finalized, refused, checked, (halted, group_is_back, fresh, abort))| {
            Seen {
                admin: if halted { Admin::Abort } else { admin },
                halted,
                target,
                group_is_back,
                fault,
                fresh,
                abort: abort.then(|| "it was stopped".to_owned()),
                refused,
                checked,
                finalized,
                ..seen(gap)
            }
        },
    )
}

/// The arrows of the table.
fn may_follow(from: State, to: State) -> bool {
    match (from, to) {
        (State::Finished | State::Failed, _) => false,
        (_, State::Failed) => true,
        (State::Created, State::Starting) | (State::Starting, State::Started) => true,
        (State::Started | State::SelfHealing, State::SelfHealing | State::Finalizing) => true,
        (State::Finalizing, State::Finished) => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_is_seen_the_life_goes_along_the_table_and_no_fault_outlives_it(
        looks in prop::collection::vec(any_seen(), 1..60), cattle: bool, which in 0usize..3,
    ) {
        let method = [method("delay"), method("killProcess"), script()][which].clone();
        let mut experiment = experiment(cattle);
        let mut now = START;
        for look in looks {
            now += look.now.duration_since(START).unwrap();
            let from = experiment.experiment_state();
            // Nothing is ordered before it begins.
            let fault = if from == State::Created { Fault::None } else { look.fault.clone() };
            let seen = Seen { now, fault, ..look };
            let next = next(&experiment, &method, &seen);
            if let Some(to) = becomes(&next) {
                prop_assert!(may_follow(from, to), "{from:?} → {to:?}");
            }
            if is_over(from) {
                prop_assert_eq!(&next, &Next::Wait(None));
            }
            let paused = seen.admin == Admin::Paused && experiment.problem.is_none();
            if paused {
                let begins = matches!(next, Next::Heal(_) | Next::Act(Effect::Order | Effect::Finalize | Effect::Check));
                prop_assert!(!begins, "{next:?} while paused");
            }
            if matches!(next, Next::Act(Effect::Order)) {
                prop_assert!(seen.fault == Fault::None && seen.admin == Admin::Started && seen.target == Presence::Well);
            }
            match next {
                Next::Become(state, reason) => enter(&mut experiment, state, &reason, now),
                Next::Fail(problem) => {
                    experiment.problem = Some(problem.into());
                    enter(&mut experiment, State::Failed, "", now);
                }
                Next::Doom(problem) => experiment.problem = Some(problem.into()),
                Next::Heal(remedies) => {
                    prop_assert!(!(seen.halted && remedies.contains(&Remedy::Recycle)));
                    attempt(&mut experiment, &remedies, now);
                }
                Next::Note(line) => note(&mut experiment, line, now),
                Next::Wait(_) | Next::Act(_) => {}
            }
            prop_assert!(experiment.transitions.len() <= LINES + 10);
            prop_assert!(experiment.self_healing_counter <= 2);
            if is_over(experiment.experiment_state()) && !is_over(from) {
                prop_assert!(seen.fault.is_over(), "{:?} in force at the end", seen.fault);
                prop_assert_eq!(experiment.was_self_healing_required, Some(experiment.self_healing_counter > 0));
            }
        }
    }
}

/// An older version stored whatever it was told.
#[test]
fn no_number_that_was_stored_makes_a_look_panic() {
    let spans = [i64::MIN, -1, 0, 1, 315_576_000_000, i64::MAX];
    let states = [State::Created, State::Starting, State::Started, State::SelfHealing, State::Finalizing];
    for state in states {
        for (seconds, moment) in spans.iter().flat_map(|span| spans.iter().map(move |at| (*span, *at))) {
            let span = Some(pbjson_types::Duration { seconds, nanos: 999_999_999 });
            let at = Some(Timestamp { seconds: moment, nanos: 999_999_999 });
            let mut experiment = in_state(state, true);
            experiment.parameters = Some(MethodParameters {
                minimum_duration: span,
                maximum_duration: span,
                finalization_duration: span,
                self_healing_interval: span,
                self_healing_retries: Some(u32::MAX),
                kind: None,
            });
            experiment.start_time = at;
            experiment.last_self_healing_time = at;
            experiment.transitions.iter_mut().for_each(|transition| transition.at = at);
            for fault in [Fault::None, Fault::InForce, Fault::Over] {
                let seen = Seen { fault, target: Presence::Unwell, ..seen(7) };
                let _ = next(&experiment, &script(), &seen);
                let _ = next(&experiment, &method("delay"), &seen);
            }
        }
    }
}
