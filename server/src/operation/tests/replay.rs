//! A run can be replayed from its seed, and its dice are fair.

use chaos_kitty::v1::{self, action, event::OperationRound};

use super::{
    super::{
        decide::decide,
        floop::Floop,
        hairball::Hairball,
        kind::{Kind, NAMES},
        scratch::Scratch,
    },
    *,
};

const ROSTER: [&str; 7] = ["anna", "bella", "caesar", "dora", "emil", "felix", "gina"];
const ROUNDS: usize = 1000;

/// Runs that kind for a thousand rounds of its default interval.
async fn run(kind: &str, seed: u64) -> Vec<OperationRound> {
    let (fleet, clock) = (Fleet::of(&ROSTER), Clock::new());
    let operations = operations(&fleet, &clock);
    let operation = v1::Operation { seed: Some(seed), ..named(kind) };
    let status = operations.put(operation).await.expect("its name is a kind");
    let interval: Duration = status.operation.unwrap().interval.unwrap().try_into().unwrap();
    pass(interval * ROUNDS as u32).await;
    let rounds = fleet.rounds();
    assert_eq!(rounds.len(), ROUNDS, "{kind}");
    rounds
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_the_same_thousand_rounds_twice_and_another_seed_gives_others() {
    for kind in NAMES {
        let first = run(kind, 7).await;
        assert!(first.iter().any(|round| round.hit) && first.iter().any(|round| !round.hit), "{kind}");
        assert!(first.iter().enumerate().all(|(index, round)| round.round == index as u64 + 1), "{kind}");
        assert_eq!(first, run(kind, 7).await, "{kind}");
        assert_ne!(first, run(kind, 8).await, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_in_which_targets_arrive_changes_nothing() {
    let mut runs = Vec::new();
    for names in [["anna", "bella", "caesar"], ["caesar", "anna", "bella"]] {
        let (fleet, clock) = (Fleet::of(&names), Clock::new());
        let operations = operations(&fleet, &clock);
        let operation = v1::Operation { seed: Some(1), ..hairball("h", seconds(1)) };
        operations.put(operation).await.expect("it fits");
        pass(seconds(50)).await;
        runs.push(fleet.asked());
    }
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn every_target_is_drawn_as_often_as_the_next_and_every_roll_is_fair() {
    let scratch = Scratch::read(v1::Scratch::default()).expect("defaults");
    let (rounds, mut hits, mut drawn) = (70_000_u64, 0_u32, [0_u32; 7]);
    let roster: Vec<usize> = (0..7).collect();
    for round in 1..=rounds {
        let decided = decide(42, round, 0.2, &scratch, &roster);
        drawn[*decided.target.expect("somebody is drawn")] += 1;
        hits += u32::from(decided.action.is_some());
    }
    // Five standard deviations: 106 of 14,000 hits, 93 of 10,000 draws of one target.
    assert!((14_000 - 530..=14_000 + 530).contains(&hits), "{hits}");
    assert!(drawn.iter().all(|times| (10_000 - 465..=10_000 + 465).contains(times)), "{drawn:?}");
}

#[test]
fn probability_0_never_hits_1_always_does_and_nobody_is_drawn_from_nobody() {
    let scratch = Scratch::read(v1::Scratch::default()).expect("defaults");
    for round in 0..1000 {
        assert!(decide(1, round, 0.0, &scratch, &["a"]).action.is_none());
        assert!(decide(1, round, 1.0, &scratch, &["a"]).action.is_some());
        assert!(decide::<&str>(1, round, 1.0, &scratch, &[]).target.is_none());
    }
}

fn sizes(min: u32, max: u32) -> Vec<u64> {
    let wire = v1::Floop { min_size_mb: min, max_size_mb: max, hold_duration: None };
    let floop = Floop::read(wire, seconds(60)).expect("sizes in order");
    let size = |round| match decide(3, round, 1.0, &floop, &["a"]).action.expect("a hit").kind {
        Some(action::Kind::Memory(memory)) => memory.size_bytes,
        other => panic!("{other:?}"),
    };
    (0..200).map(size).collect()
}

#[test]
fn floop_takes_whole_megabytes_up_to_and_including_its_maximum() {
    assert!(sizes(10, 10).iter().all(|size| *size == 10 << 20));
    let few = sizes(1, 3);
    assert!(few.iter().all(|size| size % (1 << 20) == 0));
    assert!([1, 2, 3].iter().all(|size| few.contains(&(size << 20))), "{few:?}");
}

#[test]
fn a_span_whose_ends_are_one_gives_exactly_that() {
    let time = Duration::new(1, 234_567_891);
    let wire = v1::Hairball { min_delay: Some(time.into()), max_delay: Some(time.into()) };
    let hairball = Hairball::read(wire, seconds(60)).expect("ends in order");
    for round in 0..100 {
        let action = decide(5, round, 1.0, &hairball, &["a"]).action.expect("a hit");
        assert_eq!(action.duration, Some(time.into()));
    }
}

#[test]
fn the_kinds_have_the_names_and_defaults_that_users_know() {
    fn of<K: Kind>() -> (&'static str, u64, f64) {
        (K::NAME, K::INTERVAL.as_secs(), K::PROBABILITY)
    }
    use super::super::{groom::Groom, yowl::Yowl, zoomies::Zoomies};
    let kinds =
        [of::<Hairball>(), of::<Scratch>(), of::<Floop>(), of::<Zoomies>(), of::<Yowl>(), of::<Groom>()];
    assert_eq!(
        kinds,
        [
            ("hairball", 30, 0.3),
            ("scratch", 60, 0.1),
            ("floop", 30, 0.2),
            ("zoomies", 30, 0.2),
            ("yowl", 45, 0.15),
            ("groom", 60, 0.2)
        ]
    );
    assert_eq!(kinds.map(|kind| kind.0), NAMES);
}
