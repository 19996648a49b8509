//! `GET /experiment/history`, `GET /experiment/history/{timestamp}`

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    routing::get,
};
use chaos_kitty::{
    Problem, Timestamp,
    v1::{self, chaos_server::Chaos},
};
use futures_util::StreamExt;
use serde_json::Value;

use super::{
    Answer, answer,
    bind::{Asks, Routes, Shape, call},
    compat,
    list::{entries, joined},
    read::Caller,
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let map = Shape::Map("RFC 3339 with microseconds, newest first", "ExperimentSuite");
    let listed = call("GET", "/experiment/history", "GetExperimentHistory");
    Routes::new()
        .with(listed.asks(Asks::Fields(&[])).answers(map), get(list::<C>))
        .with(call("GET", "/experiment/history/{at}", "GetSuiteRecord"), get(show::<C>))
}

/// The whole history as one map.
async fn list<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let suites = entries(move |page_token| {
        let (chaos, caller) = (Arc::clone(&chaos), caller.clone());
        async move {
            let request = v1::GetExperimentHistoryRequest { page_token, ..Default::default() };
            let page = chaos.get_experiment_history(caller.request(request)?).await?.into_inner();
            Ok((page.suites, page.next_page_token))
        }
    });
    let told = suites
        .scan(None, |newer, entry| std::future::ready(Some(entry.and_then(|entry| told(&entry, newer)))));
    joined("{", told, "}").await
}

/// One entry of the map. `newer` is the key of the entry before, in microseconds.
fn told(entry: &v1::HistoryEntry, newer: &mut Option<i64>) -> Result<String, Problem> {
    let (micros, key) = compat::history_key(entry.at.unwrap_or_default(), *newer)?;
    *newer = Some(micros);
    let suite = entry.suite.as_ref().map_or(Ok(Value::Null), compat::suite)?;
    Ok(format!("{}: {suite}", Value::String(key)))
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(at): Path<String>, caller: Caller) -> Answer {
    let at: Timestamp = serde_json::from_value(Value::String(at)).map_err(|error| {
        Problem::invalid("timestamp", error).hint("take a key of GET /experiment/history")
    })?;
    answer(chaos.get_suite_record(caller.request(v1::GetSuiteRecordRequest { at: Some(at) })?).await?)
}
