//! The same through REST: bodies and queries with extremes in one to three places.

use chaos_kitty::v1;
use chaos_kitty_tests::http;
use rand::{
    RngExt,
    seq::{IndexedMutRandom, IndexedRandom, IteratorRandom},
};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    calls::{Known, PATIENCE, World, hairball, suite, unleash},
    extreme::TEXTS,
};

/// Method, path, and what goes into the query or the body.
type Call = (&'static str, String, Value);

fn calls(known: &Known) -> Vec<Call> {
    let at = known.suite.map(|at| json!(at).as_str().unwrap_or_default().to_owned()).unwrap_or_default();
    let page = json!({ "pageSize": 10, "pageToken": "" });
    let set = |name: &str, value: &str| json!({ name: value });
    vec![
        ("GET", "/status".to_owned(), json!({})),
        ("GET", "/agent".to_owned(), page.clone()),
        ("GET", "/target".to_owned(), page.clone()),
        ("GET", "/target".to_owned(), json!({})),
        ("GET", "/platform".to_owned(), json!({})),
        ("GET", "/platform/health".to_owned(), json!({})),
        ("GET", "/action".to_owned(), page.clone()),
        ("POST", "/action".to_owned(), json!(unleash())),
        ("GET", format!("/action/{}", known.action), json!({})),
        ("DELETE", format!("/action/{}", known.action), json!({})),
        ("POST", "/resume".to_owned(), json!(v1::ResumeRequest::default())),
        ("GET", "/operation".to_owned(), page.clone()),
        ("PUT", "/operation/attack".to_owned(), json!(hairball())),
        ("GET", "/operation/attack".to_owned(), json!({})),
        ("DELETE", "/operation/attack".to_owned(), json!({})),
        ("POST", "/experiment/build".to_owned(), json!(suite())),
        ("GET", "/experiment/history".to_owned(), json!({})),
        ("GET", format!("/experiment/history/{at}"), json!({})),
        ("GET", "/experiment".to_owned(), json!({ "all": true })),
        ("GET", format!("/experiment/{}", known.experiment), json!({})),
        ("DELETE", format!("/experiment/{}", known.experiment), json!({})),
        ("GET", "/experiment/stats/groupbystate".to_owned(), json!({})),
        ("GET", "/experiment/method".to_owned(), page.clone()),
        ("GET", "/script".to_owned(), page),
        ("GET", "/script/cpuBurn.sh".to_owned(), json!({})),
        ("GET", "/admin/state".to_owned(), json!({})),
        ("POST", "/admin/state".to_owned(), set("state", "STARTED")),
        ("GET", "/experiment/schedule".to_owned(), json!({})),
        ("PATCH", "/experiment/backoff".to_owned(), set("backoffDuration", "PT1M")),
    ]
}

impl World {
    /// A call of the REST side with extremes.
    pub(crate) async fn rest(&self, random: &mut ChaCha8Rng) {
        let all = calls(&self.known());
        let (method, mut path, mut content) = all.choose(random).unwrap().clone();
        let name =
            format!("{method} /{}", path.split('/').skip(1).take(2).map(short).collect::<Vec<_>>().join("/"));
        let is_empty = content.as_object().is_some_and(serde_json::Map::is_empty);
        for _ in 0..random.random_range(1..=3) {
            change(&mut content, random);
        }
        if is_empty && random.random_bool(0.5) {
            // Nothing but the path can be wrong.
            path = format!("{}/{}", path.rsplit_once('/').unwrap().0, escaped(&extreme(random)));
        }
        let in_body =
            matches!((method, path.as_str()), ("POST" | "PUT", path) if !path.starts_with("/admin"));
        let (path, body) = if in_body {
            (path, content.to_string())
        } else {
            let fields: Vec<_> = content.as_object().into_iter().flatten().collect();
            let query: Vec<_> = fields
                .iter()
                .map(|(name, value)| format!("{}={}", escaped(&json!(name)), escaped(value)))
                .collect();
            (if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }, String::new())
        };
        let headers: &[_] = if in_body { &[("Content-Type", "application/json")] } else { &[] };
        // A line that is too long is not sent by anybody.
        let path: String = path.chars().take(8000).collect();
        let answer = timeout(PATIENCE, http::request(&self.tcp, method, &path, headers, &body)).await;
        self.figures.note("REST", &name, matches!(answer, Ok(Ok((200..300, _)))));
        if let Ok(Ok((500, text))) = &answer {
            println!("{method} {}: {text}", path.chars().take(200).collect::<String>());
        }
        self.refresh(false).await;
    }
}

/// Ids are all alike.
fn short(part: &str) -> &str {
    if part.len() == 36 { "{id}" } else { part }
}

fn escaped(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

/// Changes something at any depth.
fn change(value: &mut Value, random: &mut ChaCha8Rng) {
    let inner = match value {
        Value::Object(fields) => fields.values_mut().choose(random),
        Value::Array(elements) => elements.choose_mut(random),
        one => {
            *one = extreme(random);
            return;
        }
    };
    // Nothing can be changed in what is empty.
    let Some(inner) = inner else { return };
    if inner.is_object() || inner.is_array() || random.random_bool(0.7) {
        change(inner, random);
    } else {
        *inner = extreme(random);
    }
}

fn extreme(random: &mut ChaCha8Rng) -> Value {
    let text = *TEXTS.choose(random).unwrap();
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e308),
        json!("9223372036854775807s"),
        json!("-1s"),
        json!("315576000000s"),
        json!("0.000000001s"),
        json!("1969-12-31T23:59:59Z"),
        json!("9999-12-31T23:59:59.999999999Z"),
        json!("PT0.000000001S"),
        json!("P9999Y"),
        json!([]),
        json!({}),
        json!([[[[]]]]),
        json!("NaN"),
        json!(text),
        json!("x".repeat(300)),
        json!(["a", "a", "a"]),
    ];
    all.choose(random).unwrap().clone()
}
