//! The shapes of the earlier experiment manager that proto JSON has not: bare lists, maps and words, nulls, and
//! names that its scripts look for. Each has a golden file in `golden/`.

use std::collections::{BTreeMap, BTreeSet};

use axum::{body::Body, response::Response};
use chaos_kitty::{
    Problem, Timestamp,
    v1::{
        self, Experiment, ExperimentSuite, Platform, Schedule, Target, experiment_state::Name as State,
        platform::health::State as Health,
    },
};
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schedule::identity;

/// The word, bare, of calls that only did something.
const DONE: &str = "ok";

/// All states, in their order.
pub(super) const STATES: [State; 7] = [
    State::Created,
    State::Starting,
    State::Started,
    State::SelfHealing,
    State::Finalizing,
    State::Finished,
    State::Failed,
];

/// Fields of a suite that the earlier document has; others are printed only where they are set.
const SUITE: [&str; 2] = ["platformType", "experimentCriteria"];

/// The answer of calls that only did something: a bare word, which is no JSON although it says so.
pub(super) fn done() -> Response {
    let mut response = Response::new(Body::from(DONE));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An experiment: what is not known yet is null.
pub(super) fn experiment(experiment: &Experiment) -> Result<Value, Problem> {
    let mut fields = object(experiment)?;
    for name in ["lastSelfHealingTime", "selfHealingMethod", "wasSelfHealingRequired"] {
        fields.entry(name).or_insert(Value::Null);
    }
    if let Some(target) = &experiment.container {
        let mut container = container(target)?;
        container.insert("experimentStartTime".to_owned(), value(&experiment.start_time)?);
        fields.insert("container".to_owned(), container.into());
    }
    Ok(fields.into())
}

/// A target, with its number and the names that it has there.
pub(super) fn container(target: &Target) -> Result<Map<String, Value>, Problem> {
    let mut fields = object(target)?;
    if target.withheld.is_empty() {
        fields.remove("withheld");
    }
    let kind = target.platform_type.trim_end_matches("Platform");
    fields.insert("identity".to_owned(), identity(target).into());
    fields.insert("simpleName".to_owned(), target.name.clone().into());
    fields.insert("containerType".to_owned(), format!("{kind}Container").into());
    fields.insert("uuid".to_owned(), target.incarnation.clone().into());
    Ok(fields)
}

/// A platform with its times; its roster is for the caller to add.
pub(super) fn platform(platform: &Platform, schedule: &Schedule) -> Result<Value, Problem> {
    let mut fields = object(platform)?;
    let times = schedule.platforms.iter().find(|times| times.platform_type == platform.platform_type);
    let (failed, health) = (platform.health() == Health::Failed, judged(platform.health()));
    let more = json!({
        "apiStatus": if failed { "ERROR" } else { "OK" },
        "platformLevel": level(&platform.platform_type),
        "platformHealth": health.as_str_name(),
        "destructionProbability": times.map_or(0.0, |times| times.probability),
        "nextChaosTime": value(&times.and_then(|times| times.next))?,
        "experimentTimes": value(&times.map(|times| times.times.clone()).unwrap_or_default())?,
    });
    if let Value::Object(more) = more {
        fields.extend(more);
    }
    Ok(fields.into())
}

/// The worst of each level, and of all.
pub(super) fn health(platforms: &[Platform]) -> BTreeMap<&'static str, &'static str> {
    let mut worst = BTreeMap::from([("OVERALL", Health::Ok)]);
    for platform in platforms {
        for level in ["OVERALL", level(&platform.platform_type)] {
            let before = worst.entry(level).or_insert(Health::Ok);
            *before = (*before).max(judged(platform.health()));
        }
    }
    worst.into_iter().map(|(level, health)| (level, health.as_str_name())).collect()
}

/// Nobody can say that it is well.
fn judged(health: Health) -> Health {
    if health == Health::Unknown { Health::Degraded } else { health }
}

/// What kind of service a platform is.
fn level(platform_type: &str) -> &'static str {
    match platform_type {
        "DockerPlatform" | "KubernetesPlatform" => "PAAS",
        "WorkerPlatform" => "SAAS",
        _ => "IAAS",
    }
}

/// Ids of experiments by their state, ordered; only states that one is in.
pub(super) type ByState = BTreeMap<&'static str, BTreeSet<String>>;

/// Adds one.
pub(super) fn group_by_state(groups: &mut ByState, experiment: Experiment) {
    groups.entry(experiment.experiment_state().as_str_name()).or_default().insert(experiment.id);
}

/// Numbers of experiments by their state; all states.
pub(super) fn count_by_state(groups: &ByState) -> BTreeMap<&'static str, usize> {
    let count = |state: State| groups.get(state.as_str_name()).map_or(0, BTreeSet::len);
    STATES.into_iter().map(|state| (state.as_str_name(), count(state))).collect()
}

/// A suite of the history: it can be built again as it is.
pub(super) fn suite(suite: &ExperimentSuite) -> Result<Value, Problem> {
    let mut fields = object(suite)?;
    fields.retain(|name, value| SUITE.contains(&name.as_str()) || is_set(value));
    Ok(fields.into())
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// The key of a suite in the history: RFC 3339 with microseconds. `after` is the key before it, which is newer;
/// a suite of the same microsecond, or later, gets the one before.
pub(super) fn history_key(at: Timestamp, after: Option<i64>) -> Result<(i64, String), Problem> {
    let micros = at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1_000);
    let micros = after.map_or(micros, |newer| micros.min(newer.saturating_sub(1)));
    let time = jiff::Timestamp::from_microsecond(micros).map_err(Problem::internal)?;
    Ok((micros, format!("{time:.6}")))
}

fn object(message: &impl Serialize) -> Result<Map<String, Value>, Problem> {
    match value(message)? {
        Value::Object(fields) => Ok(fields),
        other => Err(Problem::internal(format!("{other} is no object"))),
    }
}

fn value(message: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(message).map_err(Problem::internal)
}

/// The word of an administrative state.
pub(super) fn admin_state(state: &v1::AdminStateResponse) -> &'static str {
    state.state().as_str_name()
}

#[cfg(test)]
mod tests;
