//! What guarded calls and requests feel.

use std::time::{Duration, Instant};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    routing::get,
};
use chaos_kitty_worker::{ChaosLayer, Injected, Points, inject, v1};
use tower::{Layer, ServiceExt, service_fn};
use v1::{action_result::Kind as Figures, action_state::Name as State, end_reason::Name as EndReason};

use crate::{
    actions,
    peer::{Peer, soon},
    worker,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

fn app(points: &Points) -> Router {
    Router::new().route("/", get(|| async { "meow" })).layer(ChaosLayer::new("http").at(points))
}

async fn request(app: &Router) -> (StatusCode, String) {
    let response = app.clone().oneshot(Request::new(Body::empty())).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn an_error_reaches_real_requests_with_its_message_and_at_its_probability() {
    let mut peer = Peer::start();
    let (builder, points) = worker("http");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let app = app(&points);
    assert_eq!(request(&app).await, (StatusCode::OK, "meow".to_owned()));
    let mut session = peer.attached().await;
    let fault = v1::RaiseError { probability: Some(0.2), ..actions::boom() };
    let id = session.start(actions::error(LONG, fault)).await;
    session.report(&id, State::Started).await;
    let mut failed = 0;
    for _ in 0..2000 {
        match request(&app).await {
            (StatusCode::INTERNAL_SERVER_ERROR, body) if body == "boom" => failed += 1,
            other => assert_eq!(other, (StatusCode::OK, "meow".to_owned())),
        }
    }
    session.stop(&id).await;
    let report = session.report(&id, State::Reverted).await;
    let Some(Figures::Error(result)) = report.result.unwrap().kind else { panic!("no figures") };
    assert_eq!((result.calls, result.failed), (2000, failed));
    assert!((310..490).contains(&failed), "six sigma around 400: {failed}");
    assert_eq!(request(&app).await, (StatusCode::OK, "meow".to_owned()));
}

#[tokio::test]
async fn an_error_of_a_count_is_completed_by_the_last_of_them() {
    let mut peer = Peer::start();
    let (builder, points) = worker("counted");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::error(LONG, v1::RaiseError { count: 3, ..actions::boom() })).await;
    session.report(&id, State::Started).await;
    let failed = (0..100).filter(|_| points.inject("any").is_err()).count();
    assert_eq!(failed, 3);
    assert_eq!(session.report(&id, State::Reverted).await.end_reason(), EndReason::Completed);
}

#[tokio::test]
async fn an_error_of_a_point_leaves_the_others_alone_and_an_empty_message_is_the_kittys_own() {
    let mut peer = Peer::start();
    let (builder, points) = worker("pointed");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let fault = v1::RaiseError { point: "db".to_owned(), ..Default::default() };
    let id = session.start(actions::error(LONG, fault)).await;
    session.report(&id, State::Started).await;
    assert_eq!(points.inject("cache"), Ok(()));
    let Injected { message, point, action_id } = points.inject("db").unwrap_err();
    assert_eq!((message.as_str(), point.as_str()), ("Yowl! Chaos kitty struck!", "db"));
    assert_eq!(action_id, id);
}

#[tokio::test]
async fn a_delay_of_requests_holds_each_back_and_the_executor_goes_on() {
    let mut peer = Peer::start();
    let (builder, points) = worker("slow");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let app = app(&points);
    let mut session = peer.attached().await;
    let id = session.start(actions::hold_back(LONG, SHORT)).await;
    session.report(&id, State::Started).await;
    let began = Instant::now();
    let both = soon("both", async { tokio::join!(request(&app), request(&app)) }).await;
    assert!(began.elapsed() >= SHORT);
    assert_eq!(both.0, both.1);
    session.stop(&id).await;
    let report = session.report(&id, State::Reverted).await;
    let Some(Figures::Delay(result)) = report.result.unwrap().kind else { panic!("no figures") };
    assert_eq!((result.means.as_str(), result.requests), ("requests", 2));
}

#[tokio::test]
async fn a_request_that_is_held_back_is_let_go_when_the_fault_is_stopped() {
    let mut peer = Peer::start();
    let (builder, points) = worker("letgo");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let mut session = peer.attached().await;
    let id = session.start(actions::hold_back(LONG, LONG)).await;
    session.report(&id, State::Started).await;
    let waiting = tokio::spawn(async move { points.inject_async("any").await });
    session.stop(&id).await;
    session.report(&id, State::Reverted).await;
    assert_eq!(soon("let go", waiting).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_layer_answers_for_services_that_are_not_http() {
    let mut peer = Peer::start();
    let (builder, points) = worker("rpc");
    let _worker = builder.connect_to(peer.endpoint()).unwrap();
    let layer = ChaosLayer::with("rpc", |injected: Injected| Err(injected.message)).at(&points);
    let service = layer.layer(service_fn(|number: u32| async move { Ok::<u32, String>(number + 1) }));
    let mut session = peer.attached().await;
    let id = session.start(actions::error(LONG, v1::RaiseError { count: 1, ..actions::boom() })).await;
    session.report(&id, State::Started).await;
    assert_eq!(service.clone().oneshot(1).await, Err("boom".to_owned()));
    assert_eq!(service.oneshot(1).await, Ok(2));
}

#[test]
fn an_idle_point_costs_next_to_nothing() {
    const CALLS: u32 = 1_000_000;
    assert_eq!(inject("warm"), Ok(()));
    let began = Instant::now();
    for _ in 0..CALLS {
        let _ = std::hint::black_box(inject("idle"));
    }
    let each = began.elapsed() / CALLS;
    assert!(each < Duration::from_micros(1), "{each:?} in a debug build on a busy machine");
}
