//! The contract from outside: gRPC and REST on one port. They translate and delegate, and decide nothing.

pub mod grpc;
pub mod guard;
mod headers;
pub mod rest;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use chaos_kitty::{
    Code, FILE_DESCRIPTOR_SET, Problem, limits,
    telemetry::Verbosity,
    v1::chaos_server::{Chaos, ChaosServer},
};
use http::header::CONTENT_TYPE;
use tonic::{Status, service::Routes};
use tonic_health::server::HealthReporter;

use self::guard::AllowedHosts;
use crate::task;

/// Everything that a listener serves: the service and its REST binding, reflection and health.
///
/// # Errors
/// [`Code::Internal`]: the compiled schema can not be read.
pub async fn router<C: Chaos>(
    chaos: Arc<C>,
    allowed: AllowedHosts,
    reporter: &HealthReporter,
    verbosity: &Verbosity,
) -> Result<Router, Problem> {
    reporter.set_serving::<ChaosServer<C>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let service = ChaosServer::from_arc(Arc::clone(&chaos))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let health = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let grpc = Routes::new(service)
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1().map_err(Problem::internal)?)
        .add_service(reflection().build_v1alpha().map_err(Problem::internal)?);
    Ok(grpc
        .into_axum_router()
        .merge(rest::router(chaos, verbosity)?)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(allowed, guard::check))
        .layer(middleware::from_fn(headers::add))
        .layer(middleware::from_fn(survive)))
}

/// A call that panics is answered, and disturbs no other.
async fn survive(request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(&request);
    match task::caught(next.run(request)).await {
        Ok(answer) => answer,
        // What it says may be a caller's text; the log has it.
        Err(_) if is_grpc => Status::from(Problem::internal("the call panicked")).into_http(),
        Err(_) => rest::refusal(Problem::internal("the call panicked")),
    }
}

async fn no_such_path(request: Request) -> Response {
    let path = request.uri().path();
    if is_grpc(&request) {
        return Status::unimplemented(format!("no such method: {path}")).into_http();
    }
    let problem = Problem::new(Code::NoSuchPath, format!("no such path: {path}"));
    rest::refusal(
        problem.hint("the paths stand beside the calls in chaoskitty/v1/chaos.proto, e.g. GET /status"),
    )
}

async fn no_such_method(request: Request) -> Response {
    let what = format!("{} does not take {}", request.uri().path(), request.method());
    rest::refusal(Problem::new(Code::NoSuchMethod, what).hint("the header Allow names what it takes"))
}

fn is_grpc(request: &Request) -> bool {
    let media = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media.is_some_and(|media| media.starts_with("application/grpc"))
}

#[cfg(test)]
mod tests;
