//! `GET /action`, `POST /action`, `GET` and `DELETE /action/{id}`

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::Response,
    routing::{delete, get, post},
};
use chaos_kitty::v1::{self, action_state::Name as State_, chaos_server::Chaos};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{
    Answer, answer,
    bind::{Asks, FieldKind, Routes, Shape, call},
    json,
    read::{Asked, Caller, Sent},
};

/// Without `wait`, the answer comes after this time at the latest, whatever is known by then.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let unleashed = call("POST", "/action", "Unleash").asks(Asks::Both(&[("wait", FieldKind::Switch)]));
    Routes::new()
        .with(call("GET", "/action", "ListActions"), get(list::<C>))
        .with(unleashed.answers(Shape::Field("actions", "ActionStatus")), post(unleash::<C>))
        .with(call("GET", "/action/{id}", "GetAction"), get(show::<C>))
        .with(call("DELETE", "/action/{id}", "StopAction"), delete(stop::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListActionsRequest>,
) -> Answer {
    answer(chaos.list_actions(caller.request(request)?).await?)
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(id): Path<String>, caller: Caller) -> Answer {
    answer(chaos.get_action(caller.request(v1::GetActionRequest { id })?).await?)
}

async fn stop<C: Chaos>(State(chaos): State<Arc<C>>, Path(id): Path<String>, caller: Caller) -> Answer {
    answer(chaos.stop_action(caller.request(v1::StopActionRequest { id })?).await?)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wait {
    wait: bool,
}

#[derive(Serialize)]
struct Unleashed {
    actions: Vec<v1::ActionStatus>,
}

/// Answers once every action is acknowledged or over; with `?wait=true` once all are over.
async fn unleash<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(Wait { wait }): Asked<Wait>,
    Sent(request): Sent<v1::UnleashRequest>,
) -> Answer {
    let updates = chaos.unleash(caller.request(request)?).await?.into_inner();
    let mut actions = Vec::new();
    if wait {
        collect(updates, &mut actions, |_| false).await?;
    } else {
        // Leaving the stream early ends no fault.
        let deadline = Instant::now() + PATIENCE;
        match timeout_at(deadline, collect(updates, &mut actions, acknowledged)).await {
            Ok(collected) => collected?,
            Err(_) => tracing::warn!("actions are not acknowledged, answering with what is known"),
        }
    }
    Ok(unleashed(actions)?)
}

fn unleashed(actions: Vec<v1::ActionStatus>) -> Result<Response, chaos_kitty::Problem> {
    json(&Unleashed { actions })
}

/// Keeps the latest status of each action, until the stream ends or it is enough.
async fn collect(
    updates: impl Stream<Item = Result<v1::ActionStatus, tonic::Status>>,
    actions: &mut Vec<v1::ActionStatus>,
    enough: impl Fn(&[v1::ActionStatus]) -> bool,
) -> Result<(), tonic::Status> {
    let mut updates = pin!(updates);
    while let Some(update) = updates.next().await {
        let update = update?;
        match actions.iter_mut().find(|action| action.id == update.id) {
            Some(action) => *action = update,
            None => actions.push(update),
        }
        if enough(actions) {
            break;
        }
    }
    Ok(())
}

fn acknowledged(actions: &[v1::ActionStatus]) -> bool {
    actions.iter().all(|action| !matches!(action.state(), State_::Unspecified | State_::Admitted))
}
