//! REST: each call of the service under the path that stands beside it in the proto, in proto JSON.
//! It calls the service in process; nothing is decided here.

mod action;
mod agent;
mod event;
mod halt;
mod health;
mod operation;
mod platform;
mod read;
mod status;
mod target;

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use chaos_kitty::{Problem, v1, v1::chaos_server::Chaos};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;

/// The paths of all nouns.
pub(super) fn router<C: Chaos>(chaos: Arc<C>) -> Router {
    Router::new()
        .merge(status::routes::<C>())
        .merge(agent::routes::<C>())
        .merge(target::routes::<C>())
        .merge(platform::routes::<C>())
        .merge(action::routes::<C>())
        .merge(halt::routes::<C>())
        .merge(operation::routes::<C>())
        .merge(event::routes::<C>())
        .merge(health::routes())
        .with_state(chaos)
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
