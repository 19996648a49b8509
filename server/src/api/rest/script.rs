//! `GET /script`, `GET /script/{name}`

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    routing::get,
};
use chaos_kitty::v1::{self, chaos_server::Chaos};

use super::{
    Answer, answer,
    bind::{Routes, call},
    list::listed,
    read::{Asked, Caller},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    Routes::new()
        .with(call("GET", "/script", "ListScripts"), get(list::<C>))
        .with(call("GET", "/script/{name}", "GetScript"), get(show::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListScriptsRequest>,
) -> Answer {
    listed!(chaos, caller, request, list_scripts, scripts, "scripts")
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(name): Path<String>, caller: Caller) -> Answer {
    answer(chaos.get_script(caller.request(v1::GetScriptRequest { name })?).await?)
}
