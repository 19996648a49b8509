//! The translation, both ways, below a service that answers what each test wants.

mod legacy;
mod panic;
mod script;
mod suite;

use std::sync::Mutex;

use axum::{body::Body, http::Request as HttpRequest};
use chaos_kitty::v1::{self, action_state::Name as State};
use http::{Method, StatusCode, header::HOST};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use self::script::Script;
use super::*;
use crate::listen::PeerInfo;

fn status(id: &str, state: State) -> v1::ActionStatus {
    v1::ActionStatus { id: id.to_owned(), state: state.into(), ..Default::default() }
}

struct Rest {
    script: Arc<Script>,
    router: Router,
}

impl Rest {
    async fn new(script: Script) -> Self {
        let script = Arc::new(script);
        let reporter = HealthReporter::new();
        let router = router(Arc::clone(&script), AllowedHosts::default(), &reporter, &Verbosity::default())
            .await
            .unwrap();
        Self { script, router }
    }

    async fn raw(&self, request: HttpRequest<Body>) -> (StatusCode, String) {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn headers(&self, path: &str) -> http::HeaderMap {
        let request = HttpRequest::builder().uri(path).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap().headers().clone()
    }

    async fn call(&self, line: &str, body: Option<&str>) -> (u16, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request =
            HttpRequest::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json; charset=utf-8");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_owned()));
        let (status, text) = self.raw(request.body(body).unwrap()).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn asked(&self) -> String {
        self.script.asked.lock().unwrap().pop().unwrap()
    }
}

#[tokio::test]
async fn every_call_has_its_path_and_answers_in_proto_json() {
    let rest = Rest::new(Script::default()).await;
    let (code, status) = rest.call("GET /status", None).await;
    assert_eq!((code, &status["version"], &status["agents"]), (200, &json!("1.2.3"), &json!(7)));
    assert_eq!(status["storeProblem"], "", "empty fields are printed");
    for (line, body, asked) in [
        ("GET /agent", None, "ListAgentsRequest"),
        ("GET /target?platformType=HostPlatform&pageSize=5", None, "platform_type: \"HostPlatform\""),
        ("GET /target?page_size=5", None, "page_size: 5"),
        (
            "GET /action?activeOnly=true&targetId=host%2Fweb-1",
            None,
            "active_only: true, target_id: \"host/web-1\"",
        ),
        ("DELETE /action/abc", None, "StopActionRequest { id: \"abc\" }"),
        ("POST /resume", Some(r#"{"source": "bob"}"#), "ResumeRequest { source: \"bob\" }"),
        ("PUT /operation/floop", Some(r#"{"probability": 0.5}"#), "name: \"floop\""),
        ("DELETE /operation/floop", None, "DeleteOperationRequest { name: \"floop\" }"),
    ] {
        let (code, answer) = rest.call(line, body).await;
        assert_eq!(code, 200, "{line}: {answer}");
        let seen = rest.asked();
        assert!(seen.contains(asked), "{line} asked {seen}");
    }
    assert_eq!(rest.call("GET /health", None).await, (200, json!("OK")));
    assert_eq!(rest.call("GET /operation/hairball", None).await.1["rounds"], "4");
    let (code, halted) = rest.call("POST /halt", None).await;
    assert_eq!((code, &halted["summary"]["reverted"]), (200, &json!(2)));
    assert_eq!(halted["actions"][0]["id"], "a");
}

#[tokio::test]
async fn problems_keep_their_number_their_status_and_their_hint() {
    let rest = Rest::new(Script::default()).await;
    let expected =
        json!({"code": 63003, "status": "NOT_FOUND", "message": "no action \"x\"", "hint": "list them"});
    assert_eq!(rest.call("GET /action/x", None).await, (404, expected));
    assert_eq!(rest.call("GET /operation/none", None).await.1["code"], 63004);
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_with_what_is_wrong() {
    let rest = Rest::new(Script::default()).await;
    let body = |text| Some(text);
    for (line, body, code, number, expected) in [
        ("POST /action", body("{\n  \"target\": oops"), 400, 63007, "line 2 column 13"),
        ("POST /action", body(r#"{"tarket": "a"}"#), 400, 63007, "`tarket`"),
        ("POST /action", body(r#"{"action": {"cpu": {"load": "many"}}}"#), 400, 63007, "action.cpu.load: "),
        ("POST /action", body(r#"{"target": "a", "selector": {}}"#), 400, 63007, "duplicate field"),
        ("POST /action", body("[1, 2]"), 400, 63007, "invalid type"),
        ("POST /action", body("{} {}"), 400, 63007, "trailing"),
        ("PUT /operation/a", body(r#"{"name": "b"}"#), 400, 63001, "in the path"),
        ("GET /target?colour=red", None, 400, 63001, "`colour`"),
        ("GET /target?pageSize=x", None, 400, 63001, "query"),
        ("GET /target?pageSize=1&pageSize=2", None, 400, 63001, "more than once"),
        ("POST /action?wait=maybe", body("{}"), 400, 63001, "maybe"),
        ("GET /event?colour=red", None, 400, 63001, "colour"),
        ("GET /nowhere", None, 404, 63010, "/nowhere"),
        ("DELETE /status", None, 405, 63011, "DELETE"),
    ] {
        let (status, answer) = rest.call(line, body).await;
        assert_eq!(status, code, "{line}: {answer}");
        assert_eq!(answer["code"], number, "{line}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{line}: {answer}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(rest.call("POST /action", Some(&deep)).await.0, 400);
}

#[tokio::test]
async fn bodies_of_another_type_or_size_are_refused() {
    let rest = Rest::new(Script::default()).await;
    let post = |media: Option<&str>, body: String| {
        let request = HttpRequest::post("/action");
        let request = media.into_iter().fold(request, |request, media| request.header(CONTENT_TYPE, media));
        request.body(Body::from(body)).unwrap()
    };
    for media in
        [None, Some("text/plain"), Some("application/jsonp"), Some("application/x-www-form-urlencoded")]
    {
        assert_eq!(rest.raw(post(media, "{}".to_owned())).await.0, 415, "{media:?}");
    }
    for media in ["application/json", "APPLICATION/JSON;charset=utf-8", "application/json ; a=b"] {
        assert_eq!(rest.raw(post(Some(media), "{}".to_owned())).await.0, 200, "{media:?}");
    }
    let fits = format!("{{}}{}", " ".repeat(limits::BODY_BYTES - 2));
    assert_eq!(fits.len(), limits::BODY_BYTES);
    assert_eq!(rest.raw(post(Some("application/json"), fits.clone())).await.0, 200);
    assert_eq!(rest.raw(post(Some("application/json"), fits + " ")).await.0, 413);
}

#[tokio::test]
async fn an_action_is_answered_when_it_is_acknowledged_or_on_request_when_it_is_over() {
    let script = || Script {
        updates: Mutex::new(vec![
            Ok(status("a", State::Admitted)),
            Ok(status("b", State::Admitted)),
            Ok(status("a", State::Accepted)),
            Ok(status("b", State::Refused)),
            Ok(status("a", State::Reverted)),
        ]),
        open: true,
        ..Script::default()
    };
    let states = |answer: &Value| {
        let actions = answer["actions"].as_array().unwrap().iter();
        actions.map(|action| action["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (code, answer) = Rest::new(script()).await.call("POST /action", Some("{}")).await;
    assert_eq!((code, states(&answer)), (200, vec!["ACCEPTED".to_owned(), "REFUSED".to_owned()]));
    let closed = Rest::new(Script { open: false, ..script() }).await;
    let (_, answer) = closed.call("POST /action?wait=true", Some("{}")).await;
    assert_eq!(states(&answer), ["REVERTED", "REFUSED"]);
}

#[tokio::test]
async fn a_refusal_in_the_stream_is_the_answer() {
    let halted = Problem::new(Code::Halted, "halted");
    let updates = Mutex::new(vec![Err(halted.into())]);
    let rest = Rest::new(Script { updates, ..Script::default() }).await;
    let (code, answer) = rest.call("POST /action", Some("{}")).await;
    assert_eq!((code, &answer["code"]), (409, &json!(61001)));
}

#[tokio::test]
async fn the_caller_and_the_trace_go_along() {
    let rest = Rest::new(Script::default()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = HttpRequest::get("/status").header("traceparent", trace);
    let peer = PeerInfo { tcp: Some(([127, 0, 0, 1], 4711).into()), ..PeerInfo::default() };
    rest.raw(request.extension(peer).body(Body::empty()).unwrap()).await;
    let asked = rest.asked();
    assert!(asked.contains(trace) && asked.contains("127.0.0.1:4711"), "{asked}");
}

#[tokio::test]
async fn events_are_named_numbered_and_end_with_the_reason() {
    let rest = Rest::new(Script::default()).await;
    let request = HttpRequest::get("/event?kind=resumed&kind=action").body(Body::empty()).unwrap();
    let (code, text) = rest.raw(request).await;
    assert_eq!(code, 200);
    assert!(rest.asked().contains(r#"kinds: ["resumed", "action"]"#));
    assert!(text.contains("event: resumed\nid: 9\n"), "{text}");
    assert!(text.contains("\"sequence\":\"9\""), "{text}");
    assert!(text.contains("event: error") && text.contains("62011"), "{text}");
}

#[tokio::test]
async fn a_foreign_page_gets_nowhere() {
    let rest = Rest::new(Script::default()).await;
    let request = HttpRequest::post("/halt").header(HOST, "localhost:8080");
    let request = request.header("origin", "http://evil.example").body(Body::empty()).unwrap();
    let (code, text) = rest.raw(request).await;
    assert_eq!(code, 403);
    assert!(text.contains("63009"), "{text}");
    assert!(rest.script.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_grpc_path_is_unimplemented() {
    let rest = Rest::new(Script::default()).await;
    for path in ["/chaoskitty.v1.Chaos/Nothing", "/no.such.Service/Call"] {
        let request = HttpRequest::post(path).header(CONTENT_TYPE, "application/grpc").body(Body::empty());
        let answer = rest.router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test]
async fn a_browser_is_told_to_keep_pages_and_answers_apart() {
    let rest = Rest::new(Script::default()).await;
    for path in ["/docs", "/openapi.json", "/status", "/nowhere", "/action/x%00"] {
        let headers = rest.headers(path).await;
        let told = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!(told("x-content-type-options"), "nosniff", "{path}");
        assert_eq!((told("x-frame-options"), told("referrer-policy")), ("DENY".into(), "no-referrer".into()));
        assert!(told("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
    let policy = rest.headers("/docs").await["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'nonce-") && !policy.contains("unsafe"), "{policy}");
    let again = rest.headers("/docs").await["content-security-policy"].to_str().unwrap().to_owned();
    assert_ne!(policy, again, "a number that is known beforehand keeps nothing out");
}
