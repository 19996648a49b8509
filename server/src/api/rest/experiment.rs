//! `/experiment`, `/experiment/{id}`, `/experiment/start`, `/experiment/build`, `/experiment/method`,
//! `/experiment/stats/*`

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    routing::{delete, get, post},
};
use chaos_kitty::{
    Problem,
    v1::{self, chaos_server::Chaos},
};
use futures_util::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;

use super::{
    Answer,
    bind::{Asks, FieldKind, Routes, Shape, call, path},
    compat, json,
    list::{entries, joined, listed, text},
    read::{Asked, Caller, Sent},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    const LIST: Shape = Shape::List("Experiment");
    let all = Asks::Fields(&[("all", FieldKind::Switch)]);
    let grouped = "Ids of the experiments that are not over, by their state.";
    let counted = "Numbers of experiments that are not over, by their state.";
    Routes::new()
        .with(call("GET", "/experiment", "ListExperiments").asks(all).answers(LIST), get(list::<C>))
        .with(call("GET", "/experiment/{id}", "GetExperiment"), get(show::<C>))
        .with(call("DELETE", "/experiment/{id}", "StopExperiment"), delete(stop::<C>))
        .with(call("POST", "/experiment/build", "BuildExperiment").answers(LIST), post(build::<C>))
        .with(
            call("POST", "/experiment/start", "StartExperiment").asks(Asks::Fields(&[])).answers(LIST),
            post(start::<C>),
        )
        .with(
            call("POST", "/experiment/start/{*target}", "StartExperiment").answers(LIST),
            post(start_on::<C>),
        )
        .with(call("GET", "/experiment/method", "ListExperimentMethods"), get(methods::<C>))
        .with(
            path("GET", "/experiment/stats/groupbystate", grouped, Shape::WordLists),
            get(grouped_by_state::<C>),
        )
        .with(
            path("GET", "/experiment/stats/countbystate", counted, Shape::Numbers),
            get(counted_by_state::<C>),
        )
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// Those that are over too.
    all: bool,
}

async fn list<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller, Asked(which): Asked<Which>) -> Answer {
    let pieces = experiments(chaos, caller, which.all).map(|found| text(&compat::experiment(&found?)?));
    joined("[", pieces, "]").await
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(id): Path<String>, caller: Caller) -> Answer {
    let found = chaos.get_experiment(caller.request(v1::GetExperimentRequest { id })?).await?;
    Ok(json(&compat::experiment(found.get_ref())?)?)
}

async fn stop<C: Chaos>(State(chaos): State<Arc<C>>, Path(id): Path<String>, caller: Caller) -> Answer {
    let stopped = chaos.stop_experiment(caller.request(v1::StopExperimentRequest { id })?).await?;
    Ok(json(&compat::experiment(stopped.get_ref())?)?)
}

async fn build<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Sent(suite): Sent<v1::ExperimentSuite>,
) -> Answer {
    let built = chaos.build_experiment(caller.request(suite)?).await?.into_inner();
    shown(&built.experiments)
}

async fn start<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    started(&*chaos, caller, String::new()).await
}

async fn start_on<C: Chaos>(
    State(chaos): State<Arc<C>>,
    Path(target): Path<String>,
    caller: Caller,
) -> Answer {
    started(&*chaos, caller, target).await
}

async fn started<C: Chaos>(chaos: &C, caller: Caller, target: String) -> Answer {
    let request = caller.request(v1::StartExperimentRequest { target })?;
    shown(&chaos.start_experiment(request).await?.into_inner().experiments)
}

async fn methods<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListExperimentMethodsRequest>,
) -> Answer {
    listed!(chaos, caller, request, list_experiment_methods, methods, "methods")
}

async fn grouped_by_state<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    Ok(json(&by_state(chaos, caller).await?)?)
}

async fn counted_by_state<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    Ok(json(&compat::count_by_state(&by_state(chaos, caller).await?))?)
}

/// Those that are not over.
async fn by_state<C: Chaos>(chaos: Arc<C>, caller: Caller) -> Result<compat::ByState, Problem> {
    let mut groups = compat::ByState::new();
    let mut found = Box::pin(experiments(chaos, caller, false));
    while let Some(experiment) = found.try_next().await? {
        compat::group_by_state(&mut groups, experiment);
    }
    Ok(groups)
}

/// All pages.
fn experiments<C: Chaos>(
    chaos: Arc<C>,
    caller: Caller,
    all: bool,
) -> impl Stream<Item = Result<v1::Experiment, Problem>> {
    entries(move |page_token| {
        let (chaos, caller) = (Arc::clone(&chaos), caller.clone());
        async move {
            let request = v1::ListExperimentsRequest { all, page_token, ..Default::default() };
            let page = chaos.list_experiments(caller.request(request)?).await?.into_inner();
            Ok((page.experiments, page.next_page_token))
        }
    })
}

fn shown(experiments: &[v1::Experiment]) -> Answer {
    let list = experiments.iter().map(compat::experiment).collect::<Result<Vec<_>, Problem>>()?;
    Ok(json(&list)?)
}
