//! The same over REST, whose fields are read from its own OpenAPI document.

use axum::{Router, body::Body};
use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::*;

struct Rest {
    router: Router,
    document: Value,
}

impl Rest {
    async fn of(server: &Server) -> Self {
        let hosts = AllowedHosts::from_iter(Vec::new());
        let router =
            api::router(server.app.service(), hosts, &Default::default(), &Default::default()).await.unwrap();
        let mut rest = Self { router, document: Value::Null };
        let answer = rest.router.clone().oneshot(Request::get("/openapi.json").body(Body::empty()).unwrap());
        let body = answer.await.unwrap().into_body().collect().await.unwrap().to_bytes();
        rest.document = serde_json::from_slice(&body).unwrap();
        rest
    }

    async fn call(&self, method: &str, uri: &str, body: Option<&Value>) -> StatusCode {
        let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(uri);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let answer = self.router.clone().oneshot(request.body(body).unwrap());
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap().status()
    }

    /// Values for a schema of the document.
    fn extremes(&self, schema: &Value) -> Vec<Value> {
        if let Some(name) = schema["$ref"].as_str() {
            let schema = &self.document[name.trim_start_matches("#/").split('/').next().unwrap()];
            let place = name.rsplit('/').next().unwrap();
            return self.extremes(&schema["schemas"][place]);
        }
        if let Some(all) = schema["allOf"].as_array() {
            return self.extremes(&all[0]);
        }
        let mut found = vec![json!(null), json!([]), json!({}), json!("x".repeat(5000))];
        match schema["type"].as_str() {
            Some("object") => {
                let inside = |name: &str, schema: &Value| -> Vec<Value> {
                    self.extremes(schema).into_iter().map(|value| json!({ name: value })).collect()
                };
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    found.extend(inside(name, schema));
                }
                if schema["additionalProperties"].is_object() {
                    found.extend(inside("delay", &schema["additionalProperties"]));
                }
            }
            Some("array") => {
                found.extend(self.extremes(&schema["items"]).into_iter().map(|value| json!([value])));
                found.push(Value::Array(vec![json!({}); 10_001]));
                found.push(Value::Array(vec![json!("x"); 10_001]));
            }
            _ => found.extend(scalars()),
        }
        found
    }
}

fn scalars() -> Vec<Value> {
    let words = [
        "",
        "\0",
        "\u{1b}[2J",
        "-1s",
        "0s",
        "9223372036854775807s",
        "-9223372036854775808s",
        "315576000001s",
        "1e400s",
        "0.9999999999s",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "+10000-01-01T00:00:00Z",
        "2026-11-28T23:59:60Z",
        "NaN",
        "Infinity",
        "-Infinity",
        "18446744073709551616",
        "PT9223372036854775807S",
        "P9999999999Y",
        "true",
    ];
    let numbers =
        [json!(-1), json!(0), json!(i64::MIN), json!(u64::MAX), json!(1e308), json!(0.5), json!(true)];
    words.map(Value::from).into_iter().chain(numbers).collect()
}

/// Sets what the second has in the first, at any depth.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// A body that is accepted as it is.
fn valid(path: &str) -> Value {
    match path {
        "/action" => json!({ "target": "billing", "action": { "delay": {}, "duration": "0.001s" } }),
        "/experiment/build" => json!({
            "platformType": "WorkerPlatform", "dryRun": true,
            "experimentCriteria": [{ "containerIdentifier": "group", "experimentMethods": ["delay"] }],
        }),
        _ => Value::Object(Map::new()),
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[tokio::test]
async fn no_field_of_any_request_ends_anything_over_rest() {
    let server = server().await;
    let rest = Rest::of(&server).await;
    let (mut calls, mut accepted) = (0, 0);
    for (path, methods) in rest.document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let mut inputs: Vec<(String, Option<Value>)> = Vec::new();
            let plain = path.replace("{*", "{");
            let filled = |name: &str, text: &str| plain.replace(&format!("{{{name}}}"), &encoded(text));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                for value in scalars().iter().chain([&json!("x".repeat(2000))]) {
                    let uri = match parameter["in"].as_str() {
                        Some("path") => filled(name, &word(value)),
                        _ => format!("{}?{name}={}", filled("name", "hairball"), encoded(&word(value))),
                    };
                    inputs.push((uri, body.is_object().then(|| valid(path))));
                }
            }
            if body.is_object() {
                for value in rest.extremes(body) {
                    let mut whole = valid(path);
                    merge(&mut whole, value);
                    inputs.push((filled("name", "hairball"), Some(whole)));
                }
            }
            inputs.push((filled("name", "hairball"), body.is_object().then(|| valid(path))));
            for (uri, body) in inputs {
                // A placeholder that was not filled, or an empty one, is another path.
                if uri.contains('{') {
                    continue;
                }
                let status = rest.call(method, &uri, body.as_ref()).await;
                calls += 1;
                accepted += usize::from(status.is_success());
                let text = body.map(|body| body.to_string().chars().take(400).collect::<String>());
                assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{method} {uri} {text:?}");
                if path.starts_with("/halt") || path.starts_with("/admin") {
                    rest.call("post", "/resume", Some(&json!({}))).await;
                    rest.call("post", "/admin/state?state=STARTED", None).await;
                }
            }
        }
    }
    assert!(calls > 1000 && accepted > 400, "{accepted} of {calls} were accepted");
    still_well(&server).await;
}
