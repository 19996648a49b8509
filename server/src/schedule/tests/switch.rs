//! On, off, backoff, and what outlives a restart.

use chaos_kitty::v1::UpdateScheduleRequest;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn often() -> Settings {
    let plan = Plan { mean: MINUTE, probability: 1.0, calendar: Calendar::Nonstop };
    Settings { plan, ..Settings::default() }
}

#[tokio::test]
async fn nothing_starts_until_it_is_switched_on_and_nothing_after_it_is_switched_off() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, often(), 1).await;
    live(&fleet, &scheduler, DAY).await;
    let schedule = scheduler.get().await;
    assert!(!schedule.automated && schedule.platforms[0].next.is_none());
    assert!(fleet.started().is_empty());

    let schedule = scheduler.update(switched(true)).await.unwrap();
    assert!(schedule.automated && schedule.platforms[0].next.is_some());
    live(&fleet, &scheduler, DAY).await;
    let seen = fleet.started().len();
    assert!(seen > 50, "{seen}");
    assert_eq!(scheduler.get().await.platforms[0].times.len(), 10);

    scheduler.update(switched(false)).await.unwrap();
    live(&fleet, &scheduler, DAY).await;
    assert_eq!(fleet.started().len(), seen);
}

#[tokio::test]
async fn the_next_one_waits_for_the_end_of_the_last_and_for_the_backoff() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, often(), 1).await;
    scheduler.update(switched(true)).await.unwrap();
    live(&fleet, &scheduler, DAY).await;
    for pair in fleet.started().windows(2) {
        assert!(pair[1].0.duration_since(pair[0].0).unsigned_abs() >= RUN + 15 * MINUTE);
    }
    let hour = Some(Duration::from_secs(3600).into());
    let told = scheduler.update(UpdateScheduleRequest { automated: None, backoff: hour }).await.unwrap();
    assert_eq!((told.automated, told.backoff), (true, hour));
    let before = fleet.started().len();
    live(&fleet, &scheduler, DAY).await;
    assert!(fleet.started().len() - before <= 23);
    while !fleet.activity().running {
        live(&fleet, &scheduler, MINUTE).await;
    }
    live(&fleet, &scheduler, RUN + MINUTE).await;
    assert!(scheduler.get().await.backoff_until.is_some());
}

#[tokio::test]
async fn a_backoff_that_is_none_is_refused_and_changes_nothing() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, often(), 1).await;
    for seconds in [-1, 400 * 24 * 3600] {
        let backoff = Some(pbjson_types::Duration { seconds, nanos: 0 });
        let problem =
            scheduler.update(UpdateScheduleRequest { automated: Some(true), backoff }).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidArgument);
        assert!(!scheduler.get().await.automated);
    }
}

#[tokio::test]
async fn switch_backoff_and_times_outlive_a_restart() {
    let fleet = Fleet::new(group("HostPlatform"));
    let store = Store::in_memory().unwrap();
    let scheduler = scheduler_on(&fleet, store.clone(), often(), 1).await;
    let backoff = Some(Duration::from_secs(1200).into());
    scheduler.update(UpdateScheduleRequest { automated: Some(true), backoff }).await.unwrap();
    live(&fleet, &scheduler, DAY).await;
    let before = scheduler.get().await;
    drop(scheduler);
    let again = scheduler_on(&fleet, store, often(), 2).await;
    assert_eq!(again.get().await, before);
}

#[tokio::test]
async fn what_was_due_while_it_was_off_is_not_made_up_for() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, Settings::default(), 1).await;
    scheduler.update(switched(true)).await.unwrap();
    scheduler.update(switched(false)).await.unwrap();
    fleet.pass(30 * DAY);
    scheduler.update(switched(true)).await.unwrap();
    scheduler.tick().await.unwrap();
    assert!(fleet.started().is_empty());
}

#[tokio::test]
async fn nothing_starts_while_the_administrative_state_admits_nothing() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, often(), 1).await;
    scheduler.update(switched(true)).await.unwrap();
    fleet.state(|state| state.paused = true);
    live(&fleet, &scheduler, DAY).await;
    assert!(fleet.started().is_empty());
    assert_eq!(scheduler.start_any().await.unwrap_err().code, Code::NotAdmitted);
    assert_eq!(scheduler.start_on("HostPlatform/web-0").await.unwrap_err().code, Code::NotAdmitted);
}

#[tokio::test]
async fn a_refusal_costs_one_turn_and_no_more() {
    let fleet = Fleet::new(group("HostPlatform"));
    let scheduler = scheduler(&fleet, often(), 1).await;
    scheduler.update(switched(true)).await.unwrap();
    fleet.state(|state| state.refuses = Some(Problem::new(Code::NotEnoughTargets, "no")));
    let mut refused = 0;
    for _ in 0..200 {
        refused += usize::from(scheduler.tick().await.is_err());
        fleet.pass(Duration::from_secs(15));
    }
    assert!((20..100).contains(&refused), "{refused}");
    fleet.state(|state| state.refuses = None);
    live(&fleet, &scheduler, Duration::from_secs(3600)).await;
    assert!(!fleet.started().is_empty());
}

#[tokio::test]
async fn on_request_it_starts_whatever_its_times_say_and_once_at_a_time() {
    let fleet = Fleet::new(group("HostPlatform"));
    let never = Plan { probability: 0.0, ..Plan::default() };
    let scheduler = scheduler(&fleet, Settings { plan: never, ..Settings::default() }, 1).await;
    let answer = scheduler.start_any().await.unwrap();
    assert_eq!(answer.experiments.len(), 1, "although none takes part by chance");
    assert!(scheduler.start_any().await.unwrap().experiments.is_empty(), "one is running");
    assert_eq!(fleet.started().len(), 1);
    fleet.pass(RUN);
    let on = scheduler.start_on("HostPlatform/web-2").await.unwrap();
    assert_eq!(on.experiments.len(), 1);
    assert_eq!(scheduler.start_on("nobody").await.unwrap_err().code, Code::NoSuchTarget);
    assert_eq!(scheduler.get().await.platforms[0].times.len(), 2);
    let nobody = Fleet::new(vec![target("HostPlatform", "lone", "a")]);
    let scheduler = self::scheduler(&nobody, often(), 1).await;
    assert!(scheduler.start_any().await.unwrap().experiments.is_empty());
}

#[tokio::test]
async fn every_platform_that_is_due_has_its_turn() {
    let fleet =
        Fleet::new([group("HostPlatform"), group("ProcessPlatform"), group("WorkerPlatform")].concat());
    let scheduler = scheduler(&fleet, often(), 1).await;
    scheduler.update(switched(true)).await.unwrap();
    live(&fleet, &scheduler, 3 * DAY).await;
    let started = fleet.started();
    for platform in fleet.platforms() {
        let turns = started.iter().filter(|(_, name)| *name == platform).count();
        assert!(turns > started.len() / 5, "{platform} had {turns} of {}", started.len());
    }
}
