//! The server dies at every named point of a running suite, and the next one goes on where it was.

use std::collections::BTreeSet;

use chaos_kitty::v1::{
    Experiment, ExperimentSuite, GetExperimentHistoryRequest, GetSuiteRecordRequest, ListActionsRequest,
    experiment_state::Name as State,
};
use chaos_kitty_tests::eventually;

use crate::experiment::{Place, is_over};

/// The points that a suite passes, in the order in which it does.
const POINTS: [&str; 9] = [
    "experiment-before-build",
    "experiment-built",
    "experiment-before-write",
    "experiment-written",
    "experiment-before-order",
    "server-before-dispatch",
    "server-dispatched",
    "experiment-before-revert",
    "experiment-reverted",
];

/// Each of them several times: the first experiment to come by, and later ones.
const PASSINGS: [u32; 3] = [1, 2, 4];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_at_any_point_of_a_suite_goes_on_where_it_was() {
    for point in POINTS {
        for passing in PASSINGS {
            if point.ends_with("build") || point.ends_with("built") {
                if passing > 1 {
                    continue;
                }
            }
            crash_at(&format!("{point}:{passing}")).await;
        }
    }
}

/// A suite of three, two of which are held and one of which kills.
async fn crash_at(point: &str) {
    let mut place = Place::new("kitty-crash", true, &["--lease", "2s"]).await;
    place.supervised(5).await;
    place.restart_with(Some(point)).await;
    let suite = place.suite(&["delay", "killProcess", "spinCpu"]);
    let asked = place.build(ExperimentSuite { seed: Some(1), ..suite }).await;
    eventually(&format!("the server dies at {point}"), async || {
        (!place.server.process.is_running()).then_some(())
    })
    .await;
    place.restart_with(None).await;

    let history =
        place.server.client().await.get_experiment_history(GetExperimentHistoryRequest::default()).await;
    let suites = history.unwrap().into_inner().suites;
    // A suite whose creation was not acknowledged is whole, or was never made.
    if asked.is_ok() {
        assert_eq!(suites.len(), 1, "{point}");
    }
    let Some(suite) = suites.first() else { return };
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
}

/// Its history leads from its creation to its end without a gap.
fn is_whole(point: &str, experiment: &Experiment) {
    let states: Vec<_> = experiment.transitions.iter().map(|transition| transition.state()).collect();
    assert_eq!(states.first(), Some(&State::Created), "{point}");
    assert_eq!(states.last(), Some(&experiment.experiment_state()), "{point}");
    assert!(states.windows(2).all(|pair| pair[0] <= pair[1]), "{point}: {states:?}");
    assert!(experiment.ended_at.is_some() && experiment.was_self_healing_required.is_some(), "{point}");
}
