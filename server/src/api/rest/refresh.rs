//! `POST /refresh`, `POST /refresh/all`

use axum::routing::post;

use super::{
    Answer,
    bind::{Routes, Shape, path},
    json,
};

const ABOUT: &str = "Nothing: settings are read when the server starts.";

pub(super) fn routes<C: Send + Sync + 'static>() -> Routes<C> {
    Routes::new()
        .with(path("POST", "/refresh", ABOUT, Shape::WordList), post(keys))
        .with(path("POST", "/refresh/all", ABOUT, Shape::Switch), post(all))
}

/// Keys whose values have changed.
async fn keys() -> Answer {
    Ok(json(&[(); 0])?)
}

/// Whether everything was made anew.
async fn all() -> Answer {
    Ok(json(&false)?)
}
