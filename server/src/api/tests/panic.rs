//! A call that panics.

use axum::{Router, body::Body, extract::Request, middleware, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tower::ServiceExt;

use crate::api::survive;

async fn ouch() -> &'static str {
    panic!("ouch")
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_so_is_the_next() {
    let router = Router::new()
        .route("/ouch", get(ouch))
        .route("/well", get(async || "well"))
        .layer(middleware::from_fn(survive));
    let ask = async |path: &str, media: &str| {
        let request = Request::get(path).header(CONTENT_TYPE, media).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let rest = ask("/ouch", "application/json").await;
    assert_eq!(rest.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let grpc = ask("/ouch", "application/grpc").await;
    assert_eq!(grpc.headers()["grpc-status"], "13", "INTERNAL");
    assert_eq!(ask("/well", "application/json").await.status(), StatusCode::OK);
}
