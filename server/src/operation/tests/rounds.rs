//! The loop: when it strikes, whom, and what stops it (nothing).

use chaos_kitty::{Code, v1::action_state::Name as State};

use super::{
    super::RosterChange,
    fleet::{Answer, target},
    *,
};

/// A hairball with an interval of 10 s and probability 1 on that fleet, for `time`.
async fn strike(fleet: &Arc<Fleet>, time: Duration) -> v1::OperationStatus {
    let clock = Clock::new();
    let operations = operations(fleet, &clock);
    operations.put(hairball("h", seconds(10))).await.expect("it fits");
    pass(time).await;
    operations.list().remove(0)
}

#[tokio::test(start_paused = true)]
async fn rounds_come_at_the_multiples_of_the_interval_on_the_wall_clock() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    operations.put(hairball("h", seconds(10))).await.expect("it fits");
    pass(Duration::from_millis(1)).await;
    let next = operations.list().remove(0).next_round_at.expect("it waits");
    assert_eq!((next.seconds, next.nanos), (1_700_000_010, 0));
    pass(Duration::from_millis(6_700)).await;
    assert_eq!(fleet.rounds().len(), 0, "{:?}", clock.now());
    pass(Duration::from_millis(100)).await;
    assert_eq!(fleet.rounds().len(), 1, "{:?}", clock.now());
    pass(seconds(30)).await;
    assert_eq!(fleet.rounds().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_neither_silences_the_rounds_nor_crowds_them() {
    for jump in [-86_400, -7, 7, 86_400] {
        let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
        let operations = operations(&fleet, &clock);
        operations.put(hairball("h", seconds(10))).await.expect("it fits");
        pass(seconds(20)).await;
        let before = fleet.rounds().len();
        clock.set_by(jump);
        pass(seconds(40)).await;
        let after = fleet.rounds().len() - before;
        assert!((3..=5).contains(&after), "{after} rounds in 40 s after a jump of {jump} s");
        let next = operations.list().remove(0).next_round_at.expect("it waits");
        assert_eq!((next.seconds % 10, next.nanos), (0, 0), "aligned again after a jump of {jump} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_hangs_holds_up_no_round_of_the_others() {
    for answer in [Answer::Hangs, Answer::Silent] {
        let fleet = Fleet::of(&["hung", "well"]);
        fleet.answer("hung", answer.clone());
        let status = strike(&fleet, seconds(400)).await;
        assert_eq!(status.rounds, 40, "{answer:?}");
        let well = fleet.asked().iter().filter(|name| *name == "well").count();
        assert!(well >= 10, "{answer:?}: {well} strikes at the other of 40");
        assert!(status.errors > 0, "{answer:?}: each strike that gives no news is an error in the end");
    }
}

#[tokio::test(start_paused = true)]
async fn strikes_under_way_are_bounded_and_what_is_over_is_counted() {
    let (fleet, clock) = (Fleet::of(&["hung"]), Clock::new());
    fleet.answer("hung", Answer::Silent);
    let operations = operations(&fleet, &clock);
    operations.put(hairball("h", Duration::from_millis(100))).await.expect("it fits");
    pass(seconds(10)).await;
    let status = operations.list().remove(0);
    assert_eq!(fleet.asked().len(), 64);
    assert_eq!(status.hits, 64);
    assert_eq!(status.errors, status.rounds - 64);
    assert!(status.last_error.contains("64 strikes are still under way"), "{}", status.last_error);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_counted_and_the_loop_goes_on() {
    for answer in
        [Answer::Refused(Code::AgentUnreachable), Answer::Ends(State::Failed), Answer::Ends(State::Unknown)]
    {
        let fleet = Fleet::of(&["a"]);
        fleet.answer("a", answer.clone());
        let status = strike(&fleet, seconds(100)).await;
        assert_eq!((status.rounds, status.errors), (10, 10), "{answer:?}");
        assert_eq!(status.hits, if matches!(answer, Answer::Refused(_)) { 0 } else { 10 }, "{answer:?}");
        assert!(!status.last_error.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_safety_protects_is_left_alone_and_that_is_no_error() {
    let fleet = Fleet::of(&["a"]);
    fleet.answer("a", Answer::Refused(Code::TooFewSurvivors));
    let status = strike(&fleet, seconds(100)).await;
    assert_eq!((status.rounds, status.hits, status.errors, status.skipped), (10, 0, 0, 10));
    assert!(fleet.rounds().iter().all(|round| round.hit && round.error.starts_with("61002")));
}

#[tokio::test(start_paused = true)]
async fn a_target_under_a_fault_is_not_struck_again() {
    let fleet = Fleet::of(&["held", "well"]);
    fleet.put_under_fault("held");
    let status = strike(&fleet, seconds(400)).await;
    assert!(fleet.asked().iter().all(|name| name == "well"));
    assert_eq!(status.hits + status.skipped, 40);
    assert!(status.hits > 0 && status.skipped > 0 && status.errors == 0);
}

#[tokio::test(start_paused = true)]
async fn the_order_names_its_target_and_its_operation() {
    let fleet = Fleet::of(&["a"]);
    strike(&fleet, seconds(10)).await;
    let request = fleet.requests().remove(0);
    assert_eq!(request.source, "operation h");
    let held: Duration = request.action.unwrap().duration.unwrap().try_into().unwrap();
    assert!((Duration::from_millis(500)..=seconds(5)).contains(&held), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn targets_that_come_and_go_are_drawn_while_they_are_there() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    operations.put(hairball("h", seconds(10))).await.expect("it fits");
    pass(seconds(10)).await;
    let targets = |operations: &Operations| operations.list().remove(0).targets;
    assert_eq!(targets(&operations), 1);

    fleet.tell(RosterChange::Upserted(Arc::new(target("b"))));
    fleet.tell(RosterChange::Removed(target("a").id));
    pass(seconds(100)).await;
    assert_eq!(targets(&operations), 1);
    assert!(fleet.asked().iter().skip(1).all(|name| name == "b"), "{:?}", fleet.asked());

    fleet.tell(RosterChange::All(vec![]));
    let before = fleet.asked().len();
    pass(seconds(100)).await;
    assert_eq!((targets(&operations), fleet.asked().len()), (0, before));
    assert_eq!(fleet.rounds().len(), 21, "rounds go on with nobody to draw");
    assert!(fleet.rounds().last().is_some_and(|round| round.target_id.is_empty() && !round.hit));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_can_not_take_the_action_or_is_not_selected_is_not_drawn() {
    let fleet = Fleet::of(&["a"]);
    let clock = Clock::new();
    let operations = operations(&fleet, &clock);
    let mut unable = target("unable");
    unable.actions.clear();
    let mut foreign = target("foreign");
    foreign.platform_type = "ProcessPlatform".to_owned();
    let mut labelled = target("labelled");
    labelled.labels.insert("tier".to_owned(), "gold".to_owned());
    for target in [unable, foreign, labelled] {
        fleet.tell(RosterChange::Upserted(Arc::new(target)));
    }
    pass(seconds(1)).await;
    let select =
        |selector: v1::Selector| v1::Operation { selector: Some(selector), ..hairball("h", seconds(1)) };
    let labels = [("tier".to_owned(), "gold".to_owned())].into();
    let platform_type = "WorkerPlatform".to_owned();
    let aggregation_identifier = "shipping".to_owned();
    for (selector, targets) in [
        (v1::Selector::default(), 3),
        (v1::Selector { platform_type, ..Default::default() }, 2),
        (v1::Selector { labels, ..Default::default() }, 1),
        (v1::Selector { aggregation_identifier, ..Default::default() }, 0),
    ] {
        let status = operations.put(select(selector.clone())).await.expect("it fits");
        assert_eq!(status.targets, targets, "{selector:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_panics_is_listed_with_that_until_it_is_put_again() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (fleet, wall, broken) = (Fleet::of(&["a"]), Clock::new().wall(), Arc::<AtomicBool>::default());
    let breaks = broken.clone();
    let clock: WallClock = Arc::new(move || {
        assert!(!breaks.load(Ordering::SeqCst), "the clock is broken");
        wall()
    });
    let store = Store::in_memory().expect("a store in memory");
    let operations = Operations::start(fleet, store, clock);
    operations.put(hairball("h", seconds(5))).await.expect("it fits");
    broken.store(true, Ordering::SeqCst);
    pass(seconds(60)).await;
    let listed = operations.list().remove(0);
    assert!(listed.problem.expect("a problem").message.contains("the clock is broken"));
    broken.store(false, Ordering::SeqCst);
    operations.put(hairball("h", seconds(5))).await.expect("it fits");
    pass(seconds(60)).await;
    assert!(operations.list()[0].problem.is_none() && operations.list()[0].rounds > 5);
}
