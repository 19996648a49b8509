//! `GET /agent`

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
    Routes::new().with(call("GET", "/agent", "ListAgents"), get(list::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListAgentsRequest>,
) -> Answer {
    listed!(chaos, caller, request, list_agents, agents, "agents")
}
