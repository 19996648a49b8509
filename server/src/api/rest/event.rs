//! `GET /event`: server-sent events, `?kind=` as often as wanted.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, State},
    response::{IntoResponse, Sse, sse},
    routing::get,
};
use chaos_kitty::{
    Problem, page,
    v1::{self, chaos_server::Chaos, event::Kind},
};
use futures_util::StreamExt;
use http::request::Parts;
use serde::Serialize;

use super::{
    Answer, Refusal,
    bind::{Asks, FieldKind, Routes, Shape, call},
    read::{Caller, pairs},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let kinds = Asks::Fields(&[("kind", FieldKind::Words)]);
    Routes::new()
        .with(call("GET", "/event", "WatchEvents").asks(kinds).answers(Shape::Events), get(watch::<C>))
}

struct Kinds(Vec<String>);

impl<S: Sync> FromRequestParts<S> for Kinds {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let pairs = pairs(parts)?;
        if let Some((name, _)) = pairs.iter().find(|(name, _)| name != "kind") {
            return Err(Problem::invalid("query", format!("unknown field {name:?}, expected kind")).into());
        }
        Ok(Self(pairs.into_iter().map(|(_, kind)| kind).collect()))
    }
}

async fn watch<C: Chaos>(State(chaos): State<Arc<C>>, Kinds(kinds): Kinds, caller: Caller) -> Answer {
    let request = v1::WatchEventsRequest { kinds, after: None };
    let events = chaos.watch_events(caller.request(request)?).await?.into_inner();
    let sent = events.map(|event| Ok::<_, Infallible>(event.map_or_else(broken_off, told)));
    Ok(Sse::new(sent).keep_alive(sse::KeepAlive::default()).into_response())
}

fn told(event: v1::Event) -> sse::Event {
    if matches!(event.kind, Some(Kind::Heartbeat(_))) {
        // A comment, which no reader of events takes for one.
        return sse::Event::default().comment("");
    }
    let (event, _) = page::shown(event);
    data(&event).event(event.kind.as_ref().map_or("event", name)).id(event.sequence.to_string())
}

/// The last thing that a watcher hears who fell behind, or whose server stops.
fn broken_off(status: tonic::Status) -> sse::Event {
    data(&v1::Problem::from(Problem::from(status))).event("error")
}

fn data(message: &impl Serialize) -> sse::Event {
    let json = serde_json::to_string(message);
    sse::Event::default().data(json.unwrap_or_else(|error| error.to_string()))
}

/// The field's name in the proto, as `?kind=` takes it.
fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::AgentJoined(_) => "agent_joined",
        Kind::AgentLeft(_) => "agent_left",
        Kind::TargetAdded(_) => "target_added",
        Kind::TargetChanged(_) => "target_changed",
        Kind::TargetRemoved(_) => "target_removed",
        Kind::Action(_) => "action",
        Kind::OperationRound(_) => "operation_round",
        Kind::OperationChanged(_) => "operation_changed",
        Kind::Halted(_) => "halted",
        Kind::Resumed(_) => "resumed",
        Kind::Experiment(_) => "experiment",
        Kind::AdminState(_) => "admin_state",
        Kind::Heartbeat(_) => "heartbeat",
        Kind::Suite(_) => "suite",
    }
}
