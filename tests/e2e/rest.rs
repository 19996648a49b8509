//! The REST side as curl and browsers meet it.

use chaos_kitty_tests::{Sandbox, http};

#[tokio::test]
async fn the_service_answers_in_proto_json_on_the_port_of_grpc() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let address = server.tcp().await;
    let (code, status) = http::json(&address, "GET", "/status", "").await;
    assert_eq!((code, status["halted"].as_bool()), (200, Some(false)));
    assert_eq!(status["serverId"], server.status().await.server_id);
    assert_eq!(http::json(&address, "GET", "/health", "").await, (200, "OK".into()));

    let body = r#"{"interval": "3600s", "floop": {}}"#;
    let (code, put) = http::json(&address, "PUT", "/operation/floop", body).await;
    assert_eq!((code, put["operation"]["probability"].as_f64()), (200, Some(0.2)), "{put}");
    let (_, listed) = http::json(&address, "GET", "/operation", "").await;
    assert_eq!(listed["operations"].as_array().map(Vec::len), Some(1));
    assert_eq!(http::json(&address, "DELETE", "/operation/floop", "").await.0, 200);
    assert_eq!(http::json(&address, "DELETE", "/operation/floop", "").await.0, 404);

    let (code, halted) = http::json(&address, "POST", "/halt", r#"{"reason": "test"}"#).await;
    assert_eq!((code, halted["actions"].as_array().map(Vec::len)), (200, Some(0)));
    let (code, resumed) = http::json(&address, "POST", "/resume", "").await;
    assert_eq!((code, resumed["wasHalted"].as_bool()), (200, Some(true)));
}

#[tokio::test]
async fn what_is_wrong_is_answered_with_its_number_and_what_to_do() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let address = server.tcp().await;
    for (method, path, body, code, number, expected) in [
        ("POST", "/action", r#"{"target": "nobody", "action": {"gc": {}}}"#, 404, 13007, "nobody"),
        ("POST", "/action", "{\"target\":\n oops}", 400, 63007, "line 2"),
        ("POST", "/action", r#"{"victim": "a"}"#, 400, 63007, "victim"),
        ("GET", "/action/none", "", 404, 63003, "none"),
        ("GET", "/nowhere", "", 404, 63010, "/nowhere"),
        ("PATCH", "/status", "", 405, 63011, "PATCH"),
        ("GET", "/target?victim=a", "", 400, 63001, "victim"),
    ] {
        let (status, answer) = http::json(&address, method, path, body).await;
        assert_eq!((status, answer["code"].as_u64()), (code, Some(number)), "{method} {path}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{method} {path}: {answer}");
    }
    let text = [("Content-Type", "text/plain")];
    assert_eq!(http::request(&address, "POST", "/halt", &text, "{}").await.unwrap().0, 415);
    let big = format!("{{\"reason\": \"{}\"}}", "x".repeat(2 << 20));
    let json = [("Content-Type", "application/json")];
    assert!(
        http::request(&address, "POST", "/halt", &json, &big).await.map_or(true, |(code, _)| code == 413)
    );
    assert!(!server.status().await.halted);
}

#[tokio::test]
async fn pages_of_other_origins_and_foreign_names_get_nowhere() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--allowed-host", "kitty.example"]).await;
    let address = server.tcp().await;
    for (headers, code) in [
        (&[("Host", "evil.example")][..], 403),
        (&[("Host", "kitty.example")], 200),
        (&[("Host", "localhost")], 200),
        (&[("Origin", "http://evil.example")], 403),
        (&[("Host", "localhost:1"), ("Origin", "http://localhost:1")], 200),
    ] {
        let (status, answer) = http::request(&address, "GET", "/status", headers, "").await.unwrap();
        assert_eq!(status, code, "{headers:?}: {answer}");
    }
}
