//! `GET /experiment/history`, `GET /experiment/history/{timestamp}`

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use chaos_kitty::{
    Problem, Timestamp,
    v1::{self, chaos_server::Chaos},
};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde_json::Value;

use super::{
    Answer, answer,
    bind::{Asks, Routes, Shape, call},
    compat,
    read::Caller,
};

/// Suites that are asked for at a time.
const PAGE: u32 = 200;

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let map = Shape::Map("RFC 3339 with microseconds, newest first", "ExperimentSuite");
    let listed = call("GET", "/experiment/history", "GetExperimentHistory");
    Routes::new()
        .with(listed.asks(Asks::Fields(&[])).answers(map), get(list::<C>))
        .with(call("GET", "/experiment/history/{at}", "GetSuiteRecord"), get(show::<C>))
}

/// The whole history as one map, page after page as the reader takes it. A problem after the first page breaks the
/// answer off.
async fn list<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let mut pages = Box::pin(pages(chaos, caller));
    let first = pages.try_next().await?;
    let entries = stream::iter(first.map(Ok))
        .chain(pages)
        .map_ok(|page| stream::iter(page.suites.into_iter().map(Ok::<_, tonic::Status>)));
    let entries = entries.try_flatten().scan(None, |newer, entry| {
        let told = entry.map_err(Problem::from).and_then(|entry| told(&entry, newer));
        std::future::ready(Some(told))
    });
    let opened = stream::iter([Ok("{".to_owned())]).chain(entries).chain(stream::iter([Ok("}".to_owned())]));
    let mut response = Response::new(Body::from_stream(opened));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// One entry of the map, with the comma before it. `newer` is the key of the entry before, in microseconds.
fn told(entry: &v1::HistoryEntry, newer: &mut Option<i64>) -> Result<String, Problem> {
    let comma = if newer.is_some() { "," } else { "" };
    let (micros, key) = compat::history_key(entry.at.unwrap_or_default(), *newer)?;
    *newer = Some(micros);
    let suite = entry.suite.as_ref().map_or(Ok(Value::Null), compat::suite)?;
    Ok(format!("{comma}\n{}: {suite}", Value::String(key)))
}

fn pages<C: Chaos>(
    chaos: Arc<C>,
    caller: Caller,
) -> impl Stream<Item = Result<v1::ExperimentHistory, tonic::Status>> {
    stream::try_unfold(Some(String::new()), move |page_token| {
        let (chaos, caller) = (Arc::clone(&chaos), caller.clone());
        async move {
            let Some(page_token) = page_token else { return Ok(None) };
            let request = v1::GetExperimentHistoryRequest { page_size: PAGE, page_token };
            let page = chaos.get_experiment_history(caller.request(request)?).await?.into_inner();
            let next = Some(page.next_page_token.clone()).filter(|token| !token.is_empty());
            Ok(Some((page, next)))
        }
    })
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(at): Path<String>, caller: Caller) -> Answer {
    let at: Timestamp = serde_json::from_value(Value::String(at)).map_err(|error| {
        Problem::invalid("timestamp", error).hint("take a key of GET /experiment/history")
    })?;
    answer(chaos.get_suite_record(caller.request(v1::GetSuiteRecordRequest { at: Some(at) })?).await?)
}
