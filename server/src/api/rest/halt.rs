//! `POST /halt`, `POST /resume`

use std::{pin::pin, sync::Arc};

use axum::{extract::State, routing::post};
use chaos_kitty::v1::{self, chaos_server::Chaos, halt_progress::Kind};
use futures_util::StreamExt;
use serde_json::json;

use super::{
    Answer, answer,
    bind::{Routes, Shape, call},
    json as respond,
    read::{Caller, Sent},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    Routes::new()
        .with(call("POST", "/halt", "Halt").answers(Shape::Object), post(halt::<C>))
        .with(call("POST", "/resume", "Resume"), post(resume::<C>))
}

/// Answers once the halt is through: `{"actions": […], "summary": {…}}`.
async fn halt<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Sent(request): Sent<v1::HaltRequest>,
) -> Answer {
    let progress = chaos.halt(caller.request(request)?).await?.into_inner();
    let mut progress = pin!(progress);
    let (mut actions, mut summary) = (Vec::new(), None);
    while let Some(step) = progress.next().await {
        match step?.kind {
            Some(Kind::Action(action)) => actions.push(action),
            Some(Kind::Summary(last)) => summary = Some(last),
            None => {}
        }
    }
    Ok(respond(&json!({ "actions": actions, "summary": summary }))?)
}

async fn resume<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Sent(request): Sent<v1::ResumeRequest>,
) -> Answer {
    answer(chaos.resume(caller.request(request)?).await?)
}
