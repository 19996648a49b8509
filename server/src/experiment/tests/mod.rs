//! The driver over a world of its own, on a virtual clock: restarted at any moment, it goes on where it was.

mod probe;
mod verdict;
mod world;

use std::time::Duration;

use chaos_kitty::{
    Code,
    v1::{
        Experiment, ExperimentSuite, ListExperimentsRequest, admin_state::Name as Admin,
        experiment_state::Name as State,
    },
};
use proptest::prelude::*;
use tokio::{runtime::Builder, time::sleep};

use self::world::World;

/// Long after everything is over.
const LONG: Duration = Duration::from_secs(3600 * 3);

fn suite(methods: &[&str]) -> ExperimentSuite {
    let json = serde_json::json!({
        "platformType": "ProcessPlatform",
        "experimentCriteria": [{ "containerIdentifier": "web", "experimentMethods": methods }],
        "seed": "1",
    });
    serde_json::from_value(json).unwrap()
}

/// Runs on a clock that jumps to whatever is waited for.
fn at_once<T>(story: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(story)
}

fn states(experiment: &Experiment) -> Vec<State> {
    experiment.transitions.iter().map(|transition| transition.state()).collect()
}

async fn all(world: &World) -> Vec<Experiment> {
    let request = ListExperimentsRequest { all: true, ..Default::default() };
    world.experiments().list(&request).await.unwrap().entries
}

#[test]
fn with_the_defaults_a_pet_is_put_back_after_its_minimum_and_finished_at_once() {
    at_once(async {
        let world = World::start(4).await;
        world.experiments().build(suite(&["delay"])).await.unwrap();
        let begun = world.now();
        sleep(LONG).await;
        let experiment = all(&world).await.remove(0);
        assert_eq!(
            states(&experiment),
            [State::Created, State::Starting, State::Started, State::Finalizing, State::Finished]
        );
        let took = experiment.ended_at.unwrap().system_time().unwrap().duration_since(begun).unwrap();
        assert!(took >= Duration::from_secs(30) && took <= Duration::from_secs(46), "{took:?}");
        assert!(world.orders().len() == 1 && world.in_force() == 0);
    });
}

#[test]
fn a_scripts_own_commands_check_heal_and_finalize() {
    at_once(async {
        let world = World::start(4).await;
        // Its health check fails until it is healed for the second time.
        world.sick_until("heal", 2);
        world.experiments().build(suite(&["nap.sh"])).await.unwrap();
        sleep(LONG).await;
        let experiment = all(&world).await.remove(0);
        assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
        assert_eq!((experiment.self_healing_counter, experiment.was_self_healing_required), (2, Some(true)));
        let id = experiment.id;
        let steps: Vec<_> = world.steps().into_iter().filter(|step| !step.contains("/check/")).collect();
        assert_eq!(steps, [format!("{id}/heal/1"), format!("{id}/heal/2"), format!("{id}/finalize/1")]);
    });
}

#[test]
fn what_is_begun_goes_on_while_draining_nothing_happens_while_paused_and_nothing_new_is_built() {
    at_once(async {
        let world = World::start(6).await;
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        world.set(Admin::Paused);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(world.experiments().active()[0].experiment_state(), State::Started);
        let refused = world.experiments().build(suite(&["delay"])).await.unwrap_err();
        assert_eq!(refused.code, Code::NotAdmitted);
        world.set(Admin::Drain);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(all(&world).await[0].experiment_state(), State::Finished);
    });
}

#[test]
fn the_time_of_the_last_end_outlives_a_restart() {
    at_once(async {
        let world = World::start(4).await;
        assert_eq!(world.experiments().last_ended(), None);
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(LONG).await;
        let ended = world.experiments().last_ended().unwrap();
        world.restart().await;
        assert_eq!(world.experiments().last_ended(), Some(ended));
    });
}

#[test]
fn one_that_can_not_be_driven_is_set_aside_and_the_next_goes_on() {
    at_once(async {
        let world = World::start(4).await;
        world.panic_at_orders(true);
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(LONG).await;
        assert!(world.experiments().active().is_empty() && all(&world).await.is_empty());
        assert_eq!(world.engaged(), 0);
        world.panic_at_orders(false);
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(LONG).await;
        assert_eq!(all(&world).await[0].experiment_state(), State::Finished);
    });
}

#[test]
fn a_clock_set_a_year_ahead_and_back_keeps_no_experiment_waiting() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    at_once(async {
        let world = World::start(4).await;
        world.set_ahead(YEAR);
        world.experiments().build(suite(&["delay"])).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(all(&world).await[0].experiment_state(), State::Started);
        world.set_ahead(Duration::ZERO);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(all(&world).await[0].experiment_state(), State::Finished);
    });
}

#[test]
fn one_that_two_starts_could_not_drive_is_not_taken_up_again() {
    at_once(async {
        for (crashes, taken_up) in [(1, 1), (2, 0)] {
            let world = World::start(4).await;
            world.experiments().build(suite(&["delay"])).await.unwrap();
            sleep(Duration::from_secs(20)).await;
            world.restart_after(crashes).await;
            assert_eq!(world.experiments().active().len(), taken_up, "after {crashes}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn restarted_at_any_moments_every_experiment_ends_and_nothing_is_done_twice(
        restarts in prop::collection::vec(0u64..120_000, 0..8), sick in 0usize..12, admin in 0usize..4,
    ) {
        at_once(async {
            let world = World::start(8).await;
            world.sick_until("heal", sick);
            world.experiments().build(suite(&["delay", "nap.sh", "killProcess"])).await.unwrap();
            for (number, pause) in restarts.iter().enumerate() {
                sleep(Duration::from_millis(*pause)).await;
                if number == 2 {
                    world.set([Admin::Started, Admin::Paused, Admin::Drain, Admin::Abort][admin]);
                }
                world.restart().await;
            }
            world.set(Admin::Started);
            sleep(LONG).await;
            let experiments = all(&world).await;
            assert_eq!(experiments.len(), 3);
            for experiment in &experiments {
                let over = [State::Finished, State::Failed].contains(&experiment.experiment_state());
                assert!(over, "{experiment:?}");
            }
            assert_eq!(world.in_force(), 0);
            let mut orders = world.orders();
            orders.sort();
            orders.dedup();
            assert!(orders.len() == world.orders().len() && orders.len() <= 3, "an order was made twice");
            assert_eq!(world.engaged(), 0);
        });
    }
}
