//! REST: each call of the service under the path that stands beside it in the proto, in proto JSON.
//! It calls the service in process; nothing is decided here.

mod action;
mod admin;
mod agent;
mod bind;
mod compat;
mod event;
mod experiment;
mod halt;
mod health;
mod history;
mod list;
mod logging;
mod openapi;
mod operation;
mod platform;
mod read;
mod refresh;
mod schedule;
mod script;
mod session;
mod status;
mod target;

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use chaos_kitty::{Problem, telemetry::Verbosity, v1, v1::chaos_server::Chaos};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

use self::bind::Routes;

/// The paths of all nouns, and what tells of them.
pub(super) fn router<C: Chaos>(chaos: Arc<C>, verbosity: &Verbosity) -> Result<Router, Problem> {
    Ok(openapi::with_documents(nouns::<C>(verbosity))?.router.with_state(chaos))
}

fn nouns<C: Chaos>(verbosity: &Verbosity) -> Routes<C> {
    Routes::new()
        .merge(status::routes::<C>())
        .merge(agent::routes())
        .merge(target::routes())
        .merge(platform::routes())
        .merge(event::routes())
        .merge(action::routes())
        .merge(halt::routes())
        .merge(operation::routes())
        .merge(experiment::routes())
        .merge(history::routes())
        .merge(schedule::routes())
        .merge(script::routes())
        .merge(admin::routes())
        .merge(health::routes())
        .merge(logging::routes(verbosity))
        .merge(refresh::routes())
        .merge(session::routes())
}

/// What a handler gives back.
type Answer = Result<Response, Refusal>;

/// A problem as an HTTP answer.
struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Self {
        Self(status.into())
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refusal(self.0)
    }
}

/// The problem as JSON, with its HTTP status.
pub(super) fn refusal(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.code.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(&v1::Problem::from(problem)).unwrap_or_default();
    *response.status_mut() = status;
    response
}

/// A message as proto JSON.
fn answer<T: Serialize>(message: tonic::Response<T>) -> Answer {
    Ok(json(&message.into_inner())?)
}

fn json(value: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(Problem::internal)?;
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
