//! `POST /login`, `POST /logout`: paths of the earlier experiment manager that are no more.

use axum::routing::post;
use chaos_kitty::{Code, Problem};

use super::{
    Answer,
    bind::{Routes, Shape, path},
};

const ABOUT: &str = "No more: there are no sessions.";

pub(super) fn routes<C: Send + Sync + 'static>() -> Routes<C> {
    Routes::new()
        .with(path("POST", "/login", ABOUT, Shape::Refusal(410)), post(gone))
        .with(path("POST", "/logout", ABOUT, Shape::Refusal(410)), post(gone))
}

async fn gone() -> Answer {
    let what = "there are no sessions, hence nothing to log in to";
    Err(Problem::new(Code::Gone, what)
        .hint("call over the Unix socket, or over TLS with a client certificate (--tls-client-ca)")
        .into())
}
