//! `GET /agent`

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use chaos_kitty::v1::{self, chaos_server::Chaos};

use super::{
    Answer, answer,
    read::{Asked, Caller},
};

pub(super) fn routes<C: Chaos>() -> Router<Arc<C>> {
    Router::new().route("/agent", get(list::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListAgentsRequest>,
) -> Answer {
    answer(chaos.list_agents(caller.request(request)).await?)
}
