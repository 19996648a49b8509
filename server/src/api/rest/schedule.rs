//! `GET`, `POST` and `DELETE /experiment/automated`, `PATCH /experiment/backoff`, `GET /experiment/schedule`

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::Response,
    routing::{delete, get, patch, post},
};
use chaos_kitty::{
    Problem, units,
    v1::{self, chaos_server::Chaos},
};
use serde::Deserialize;

use super::{
    Answer, answer,
    bind::{Asks, FieldKind, Routes, Shape, call},
    compat, json,
    read::{Asked, Caller, Told},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let nothing = Asks::Fields(&[]);
    let shown = call("GET", "/experiment/automated", "GetSchedule").answers(Shape::Switch);
    let on =
        call("POST", "/experiment/automated", "UpdateSchedule").about("Switches automatic experiments on.");
    let off = call("DELETE", "/experiment/automated", "UpdateSchedule")
        .about("Switches automatic experiments off.");
    let backoff = call("PATCH", "/experiment/backoff", "UpdateSchedule")
        .about("Sets the time from the end of the last experiment to the next automatic one.")
        .asks(Asks::Fields(&[("backoffDuration", FieldKind::Duration)]));
    Routes::new()
        .with(shown, get(automated::<C>))
        .with(on.asks(nothing).answers(Shape::BareWord), post(switch_on::<C>))
        .with(off.asks(nothing).answers(Shape::BareWord), delete(switch_off::<C>))
        .with(backoff.answers(Shape::Nothing), patch(set_backoff::<C>))
        .with(call("GET", "/experiment/schedule", "GetSchedule"), get(show::<C>))
}

async fn show<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::GetScheduleRequest>,
) -> Answer {
    answer(chaos.get_schedule(caller.request(request)?).await?)
}

async fn automated<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let schedule = chaos.get_schedule(caller.request(v1::GetScheduleRequest {})?).await?;
    Ok(json(&schedule.get_ref().automated)?)
}

async fn switch_on<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    switched(&*chaos, caller, true).await
}

async fn switch_off<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    switched(&*chaos, caller, false).await
}

async fn switched<C: Chaos>(chaos: &C, caller: Caller, automated: bool) -> Answer {
    let request = v1::UpdateScheduleRequest { automated: Some(automated), backoff: None };
    chaos.update_schedule(caller.request(request)?).await?;
    Ok(compat::done())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Backoff {
    backoff_duration: String,
}

async fn set_backoff<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Told(Backoff { backoff_duration }): Told<Backoff>,
) -> Answer {
    let backoff =
        units::duration(&backoff_duration).map_err(|what| Problem::invalid("backoffDuration", what))?;
    let request = v1::UpdateScheduleRequest { automated: None, backoff: Some(backoff.into()) };
    chaos.update_schedule(caller.request(request)?).await?;
    Ok(Response::new(Body::empty()))
}
