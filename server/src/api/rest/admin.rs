//! `GET` and `POST /admin/state`

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use chaos_kitty::{
    Problem,
    v1::{self, admin_state::Name, chaos_server::Chaos},
};
use serde::Deserialize;

use super::{
    Answer,
    bind::{Asks, FieldKind, Routes, Shape, call},
    compat, json,
    read::{Caller, Told},
};

const STATES: [&str; 5] = ["STARTING", "STARTED", "PAUSED", "DRAIN", "ABORT"];

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let told = Asks::Fields(&[("state", FieldKind::Word), ("source", FieldKind::Word)]);
    let set = call("POST", "/admin/state", "SetAdminState").about("Sets the administrative state.");
    Routes::new()
        .with(call("GET", "/admin/state", "GetAdminState").answers(Shape::Word(&STATES)), get(show::<C>))
        .with(set.asks(told).answers(Shape::Nothing), post(set_state::<C>))
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let state = chaos.get_admin_state(caller.request(v1::GetAdminStateRequest {})?).await?;
    Ok(json(&compat::admin_state(state.get_ref()))?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: String,
    #[serde(default)]
    source: String,
}

async fn set_state<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Told(Wanted { state, source }): Told<Wanted>,
) -> Answer {
    let name = Name::from_str_name(&state).ok_or_else(|| {
        Problem::invalid("state", format!("there is no state {state:?}"))
            .hint(format!("one of {}", STATES.join(", ")))
    })?;
    chaos.set_admin_state(caller.request(v1::SetAdminStateRequest { state: name.into(), source })?).await?;
    Ok(Response::new(Body::empty()))
}
