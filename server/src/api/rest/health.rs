//! `GET /health`

use std::sync::Arc;

use axum::{Router, routing::get};

use super::{Answer, json};

pub(super) fn routes<C: Send + Sync + 'static>() -> Router<Arc<C>> {
    Router::new().route("/health", get(show))
}

/// It answers, so it is well; what is not well stands in `/status`.
async fn show() -> Answer {
    Ok(json(&"OK")?)
}
