//! `GET /status`

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use chaos_kitty::v1::{self, chaos_server::Chaos};

use super::{
    Answer, answer,
    read::{Asked, Caller},
};

pub(super) fn routes<C: Chaos>() -> Router<Arc<C>> {
    Router::new().route("/status", get(show::<C>))
}

async fn show<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::GetStatusRequest>,
) -> Answer {
    answer(chaos.get_status(caller.request(request)).await?)
}
