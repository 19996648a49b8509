//! The server dies at every named point of a running suite and at random moments, and the next one goes on where it was.

use std::{collections::BTreeSet, env, fs, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{
        BuildExperimentResponse, Experiment, ExperimentSuite, GetExperimentHistoryRequest,
        GetSuiteRecordRequest, ListActionsRequest, experiment_state::Name as State,
    },
};
use chaos_kitty_tests::{eventually, process};
use futures_util::{StreamExt, stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::experiment::{Place, is_over};

/// The points that a suite passes, in the order in which it does, and at which of its passings the server dies there.
const POINTS: [(&str, &[u32]); 10] = [
    ("experiment-before-build", &[1]),
    ("experiment-built", &[1]),
    ("experiment-before-write", &[1, 3, 5, 8, 11]),
    ("experiment-written", &[1, 2, 4, 6, 9, 12]),
    ("experiment-before-order", &[1, 3]),
    ("server-before-dispatch", &[1, 2]),
    ("server-dispatched", &[1, 2, 3]),
    ("experiment-ordered", &[1, 2, 3]),
    ("experiment-before-revert", &[1]),
    ("experiment-reverted", &[1]),
];

/// On a busy machine an agent takes its time to be back; one that is not within this is given up.
const LEASE: &str = "4s";

/// Servers at a time.
const SIDE_BY_SIDE: usize = 4;

/// Suites whose server dies twice at random moments, unless `KITTY_CRASH_SUITES` says otherwise (`tests/run --long`).
const SUITES: u64 = 4;

/// A suite is over by then.
const LATEST: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_any_point_of_a_suite_goes_on_where_it_was() {
    let cells =
        POINTS.iter().flat_map(|(point, passings)| passings.iter().map(move |at| format!("{point}:{at}")));
    let numbered = stream::iter(cells.enumerate());
    numbered.for_each_concurrent(SIDE_BY_SIDE, async |(number, cell)| crash_at(number, &cell).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_random_moments_of_a_suite_goes_on_where_it_was() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
    let suites: u64 = number("KITTY_CRASH_SUITES").unwrap_or(SUITES);
    let seed = number("KITTY_CRASH_SEED").unwrap_or_else(rand::random);
    println!("{suites} suites; KITTY_CRASH_SEED={seed} draws the same again");
    stream::iter(0..suites).for_each_concurrent(SIDE_BY_SIDE, |round| crash_twice(seed, round)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_runs_also_when_the_server_is_killed_between_healthy_and_finalized() {
    let header =
        "# Health check: true\n# Self healing: true\n# Finalize command: echo done >> HERE/finalized";
    for point in ["experiment-before-finalize", "experiment-finalized"] {
        let mut place = Place::with_script("kitty-final", false, &["--lease", "2s"], header).await;
        place.alone(2).await;
        place.restart_with(Some(point)).await;
        let built = place.build(place.suite(&["nap.sh"])).await.unwrap();
        eventually(&format!("the server dies at {point}"), async || {
            (!place.server.process.is_running()).then_some(())
        })
        .await;
        let finalized = place.sandbox.path().join("finalized");
        let lines = || fs::read_to_string(&finalized).unwrap_or_default().lines().count();
        let before = lines();
        place.restart_with(None).await;
        let experiment = eventually("it is over", async || {
            let experiment = place.get(&built.experiments[0].id).await;
            is_over(&experiment).then_some(experiment)
        })
        .await;
        assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
        // Of a step that was carried out already, its agent says only that it was.
        let again = usize::from(point == "experiment-before-finalize");
        assert_eq!(lines() - before, again, "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_at_self_healing_counts_also_when_the_server_is_killed_before_it_or_after_it() {
    let flags = ["--lease", "2s", "--experiment-maximum", "3s", "--self-healing-interval", "3s"];
    for point in ["experiment-before-heal", "experiment-healed"] {
        let mut place = Place::new("kitty-heal", true, &flags).await;
        place.deaf(2).await;
        place.restart_with(Some(point)).await;
        let built = place.build(place.suite(&["killProcess"])).await.unwrap();
        eventually(&format!("the server dies at {point}"), async || {
            (!place.server.process.is_running()).then_some(())
        })
        .await;
        place.restart_with(None).await;
        let experiment = eventually("it is over", async || {
            let experiment = place.get(&built.experiments[0].id).await;
            is_over(&experiment).then_some(experiment)
        })
        .await;
        assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
        // What was done is not done again; what was only announced counts, and the next attempt does it.
        let attempts = if point == "experiment-healed" { 1 } else { 2 };
        assert_eq!(experiment.self_healing_counter, attempts, "{point}: {experiment:?}");
    }
}

/// A suite of three, two of which are held and one of which kills.
async fn crash_at(number: usize, point: &str) {
    // An agent sees the processes of the whole host.
    let flags = ["--lease", LEASE, "--experiment-maximum", "2s", "--self-healing-interval", "10s"];
    let mut place = Place::new(&format!("kitty-crash-{number}"), true, &flags).await;
    place.supervised(5).await;
    place.restart_with(Some(point)).await;
    let suite = place.suite(&["delay", "killProcess", "spinCpu"]);
    let asked = place.build(ExperimentSuite { seed: Some(1), ..suite }).await;
    eventually(&format!("the server dies at {point}"), async || {
        (!place.server.process.is_running()).then_some(())
    })
    .await;
    place.restart_with(None).await;
    goes_on(&place, point, &asked).await;
}

/// A suite of three, one of which is held, one kills, and one is a script that writes down that it runs and that it
/// is finalized; and a server that dies while it is built or runs, and again.
async fn crash_twice(seed: u64, round: u64) {
    let header = "# Health check: true\n# Self healing: true\n# Finalize command: echo finalized >> HERE/effects\n\
                  echo begun >> HERE/effects";
    let flags = ["--lease", LEASE, "--experiment-maximum", "2s", "--self-healing-interval", "10s"];
    let mut place = Place::with_script(&format!("kitty-rand-{round}"), true, &flags, header).await;
    place.supervised(5).await;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(round);
    let [first, second] = [(); 2].map(|()| random.random_range(Duration::ZERO..LATEST));
    let what = format!("suite {round} of seed {seed}, killed after {first:?} and {second:?}");

    let server = place.server.process.pid();
    let suite = ExperimentSuite { seed: Some(seed), ..place.suite(&["delay", "killProcess", "nap.sh"]) };
    let kill = async {
        sleep(first).await;
        process::signal(server, Signal::KILL);
    };
    let (asked, ()) = tokio::join!(place.build(suite), kill);
    place.restart_with(None).await;
    sleep(second).await;
    place.restart_with(None).await;

    let experiments = goes_on(&place, &what, &asked).await;
    let script = experiments.iter().find(|it| it.experiment_method_name == "nap.sh");
    let effects = fs::read_to_string(place.sandbox.path().join("effects")).unwrap_or_default();
    let count = |effect: &str| effects.lines().filter(|line| *line == effect).count();
    // It is finalized with the revert of the fault, and once more by the step of the experiment.
    assert!(count("begun") <= 1 && count("finalized") <= 2, "{what}: {effects}");
    if script.is_some_and(|it| it.experiment_state() == State::Finished) {
        assert_eq!((count("begun"), count("finalized")), (1, 2), "{what}: {script:?}");
    }
}

/// All experiments of the suite that was asked for reach their end, and nothing was done twice or left. Gives them.
async fn goes_on(
    place: &Place,
    point: &str,
    asked: &Result<BuildExperimentResponse, Problem>,
) -> Vec<Experiment> {
    let history =
        place.server.client().await.get_experiment_history(GetExperimentHistoryRequest::default()).await;
    let suites = history.unwrap().into_inner().suites;
    // A suite whose creation was not acknowledged is whole, or was never made.
    if asked.is_ok() {
        assert_eq!(suites.len(), 1, "{point}");
    }
    let Some(suite) = suites.first() else { return Vec::new() };
    let experiments = eventually(&format!("all of the suite are over after {point}"), async || {
        let record =
            place.server.client().await.get_suite_record(GetSuiteRecordRequest { at: suite.at }).await;
        let experiments = record.unwrap().into_inner().experiments;
        experiments.iter().all(is_over).then_some(experiments)
    })
    .await;
    assert_eq!(experiments.len(), 3, "{point}: none is lost, none is made twice");
    let methods: BTreeSet<_> = experiments.iter().map(|it| it.experiment_method_name.as_str()).collect();
    assert_eq!(methods.len(), 3, "{point}");
    experiments.iter().for_each(|experiment| is_whole(point, experiment));

    // One action each at the most, and nothing is left of any.
    let actions = place.server.client().await.list_actions(ListActionsRequest::default()).await;
    let actions = actions.unwrap().into_inner().actions;
    let ordered: Vec<_> =
        experiments.iter().map(|it| it.action_id.clone()).filter(|id| !id.is_empty()).collect();
    assert!(
        actions.len() <= 3 && actions.iter().all(|action| ordered.contains(&action.id)),
        "{point}: {actions:?}"
    );
    assert_eq!(place.server.active().await, [], "{point}");
    experiments
}

/// Its history leads from its creation to its end without a gap.
fn is_whole(point: &str, experiment: &Experiment) {
    // An order may have been on its way when the server died, so that its outcome was never known.
    let unknown = experiment.problem.as_ref().is_some_and(|problem| problem.code == Code::NoAnswer.number());
    assert!(unknown || experiment.experiment_state() == State::Finished, "{point}: {experiment:?}");
    let states: Vec<_> = experiment.transitions.iter().map(|transition| transition.state()).collect();
    assert_eq!(states.first(), Some(&State::Created), "{point}");
    assert_eq!(states.last(), Some(&experiment.experiment_state()), "{point}");
    assert!(states.windows(2).all(|pair| pair[0] <= pair[1]), "{point}: {states:?}");
    assert!(experiment.ended_at.is_some() && experiment.was_self_healing_required.is_some(), "{point}");
}
