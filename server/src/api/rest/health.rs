//! `GET /health`

use axum::routing::get;

use super::{
    Answer,
    bind::{Routes, Shape, path},
    json,
};

pub(super) fn routes<C: Send + Sync + 'static>() -> Routes<C> {
    let about = "Whether the server answers; what is not well stands in /status.";
    Routes::new().with(path("GET", "/health", about, Shape::Word(&["OK"])), get(show))
}

/// It answers, so it is well; what is not well stands in `/status`.
async fn show() -> Answer {
    Ok(json(&"OK")?)
}
