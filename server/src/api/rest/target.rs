//! `GET /target`

use std::sync::Arc;

use axum::{extract::State, routing::get};
use chaos_kitty::v1::{self, chaos_server::Chaos};

use super::{
    Answer,
    bind::{Routes, call},
    list::listed,
    read::{Asked, Caller},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    Routes::new().with(call("GET", "/target", "ListTargets"), get(list::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListTargetsRequest>,
) -> Answer {
    listed!(chaos, caller, request, list_targets, targets, "targets")
}
