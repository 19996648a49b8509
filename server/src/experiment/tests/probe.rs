//! Each kind of probe, against something that answers and something that does not.

use chaos_kitty::v1::Probe;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthService};

use super::{super::probe, world::World};

async fn ask(json: serde_json::Value) -> Result<(), String> {
    let probe: Probe = serde_json::from_value(json).unwrap();
    probe::validate("steady_state", std::slice::from_ref(&probe)).unwrap();
    let world = World::start(1).await;
    probe::ask(&probe, &*world.port()).await
}

/// Answers every request with this.
async fn web(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address.to_string()
}

/// An address where nothing listens.
async fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn http_asks_for_a_status_and_a_part_of_the_body() {
    let ok = web("200 OK", "all is well").await;
    let url = |address: &str| format!("http://{address}/health?deep=1");
    let http = |more: serde_json::Value| {
        let mut http = serde_json::json!({ "url": url(&ok) });
        http.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::json!({ "http": http })
    };
    assert_eq!(ask(http(serde_json::json!({}))).await, Ok(()));
    assert_eq!(ask(http(serde_json::json!({ "status": 200, "contains": "well" }))).await, Ok(()));
    assert!(ask(http(serde_json::json!({ "contains": "ill" }))).await.unwrap_err().contains("ill"));
    assert_eq!(ask(http(serde_json::json!({ "status": 204 }))).await, Err("status 200".to_owned()));
    let broken = web("503 Service Unavailable", "").await;
    let broken = serde_json::json!({ "http": { "url": url(&broken) } });
    assert_eq!(ask(broken).await, Err("status 503".to_owned()));
    assert!(ask(serde_json::json!({ "http": { "url": url(&nowhere().await) } })).await.is_err());
}

#[tokio::test]
async fn what_does_not_answer_in_time_does_not_hold() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let silence = ask(serde_json::json!({ "timeout": "0.05s", "http": { "url": url } })).await;
    assert_eq!(silence, Err("no answer within 50ms".to_owned()));
}

#[tokio::test]
async fn tcp_asks_for_a_connection() {
    let address = web("200 OK", "").await;
    assert_eq!(ask(serde_json::json!({ "tcp": { "address": address } })).await, Ok(()));
    assert!(ask(serde_json::json!({ "tcp": { "address": nowhere().await } })).await.is_err());
}

#[tokio::test]
async fn grpc_asks_for_serving() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let reporter = tonic_health::server::HealthReporter::new();
    reporter.set_service_status("up", ServingStatus::Serving).await;
    reporter.set_service_status("down", ServingStatus::NotServing).await;
    let service = HealthServer::new(HealthService::from_health_reporter(reporter));
    let router = tonic::service::Routes::new(service).into_axum_router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let asked =
        |service: &str| ask(serde_json::json!({ "grpc": { "endpoint": endpoint, "service": service } }));
    assert_eq!(asked("up").await, Ok(()));
    assert_eq!(asked("down").await, Err("NOT_SERVING".to_owned()));
    assert!(asked("unheard of").await.is_err());
}

#[tokio::test]
async fn prometheus_compares_the_first_value_of_a_query() {
    let sample =
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.25"]}]}}"#;
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
    let none = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    for (body, comparison, value, holds) in [
        (sample, "LESS", 0.5, true),
        (sample, "GREATER_OR_EQUAL", 0.5, false),
        (sample, "EQUAL", 0.25, true),
        (scalar, "GREATER", 6.0, true),
        (scalar, "LESS_OR_EQUAL", 6.0, false),
        (none, "LESS", 1.0, false),
    ] {
        let endpoint = format!("http://{}", web("200 OK", body).await);
        let query = "rate(errors{job=\"web\"}[1m])";
        let prometheus = serde_json::json!({ "endpoint": endpoint, "query": query, "comparison": comparison, "value": value });
        assert_eq!(
            ask(serde_json::json!({ "prometheus": prometheus })).await.is_ok(),
            holds,
            "{body} {comparison} {value}"
        );
    }
}

#[tokio::test]
async fn a_command_runs_on_its_target() {
    let command =
        |target: &str| serde_json::json!({ "command": { "target": target, "argv": ["/bin/true"] } });
    assert_eq!(ask(command("process/here/web:0")).await, Ok(()));
    assert!(ask(command("nobody")).await.is_err());
}
