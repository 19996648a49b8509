//! `GET /operation`, `GET`, `PUT` and `DELETE /operation/{name}`

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    routing::{self, get},
};
use chaos_kitty::{
    Code, Problem,
    v1::{self, chaos_server::Chaos},
};

use super::{
    Answer, answer,
    bind::{Asks, Routes, Shape, call},
    json,
    read::{Asked, Caller, Sent},
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let shown = call("GET", "/operation/{name}", "").about("One operation by its name.");
    Routes::new()
        .with(call("GET", "/operation", "ListOperations"), get(list::<C>))
        .with(shown.answers(Shape::One("OperationStatus")), get(show::<C>))
        .with(
            call("PUT", "/operation/{name}", "PutOperation").asks(Asks::Body("Operation")),
            routing::put(put::<C>),
        )
        .with(call("DELETE", "/operation/{name}", "DeleteOperation"), routing::delete(delete::<C>))
}

async fn list<C: Chaos>(
    State(chaos): State<Arc<C>>,
    caller: Caller,
    Asked(request): Asked<v1::ListOperationsRequest>,
) -> Answer {
    answer(chaos.list_operations(caller.request(request)?).await?)
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(name): Path<String>, caller: Caller) -> Answer {
    let all = chaos.list_operations(caller.request(v1::ListOperationsRequest {})?).await?.into_inner();
    let named = |status: &v1::OperationStatus| status.operation.as_ref().is_some_and(|o| o.name == name);
    let found = all.operations.into_iter().find(named).ok_or_else(|| {
        Problem::new(Code::NoSuchOperation, format!("no operation {name:?}"))
            .hint("GET /operation lists them")
    });
    Ok(json(&found?)?)
}

/// The name in the path holds; the body may leave it out.
async fn put<C: Chaos>(
    State(chaos): State<Arc<C>>,
    Path(name): Path<String>,
    caller: Caller,
    Sent(mut operation): Sent<v1::Operation>,
) -> Answer {
    if !operation.name.is_empty() && operation.name != name {
        let what = format!("it is {:?} in the body and {name:?} in the path", operation.name);
        return Err(Problem::invalid("name", what).into());
    }
    operation.name = name;
    let request = v1::PutOperationRequest { operation: Some(operation) };
    answer(chaos.put_operation(caller.request(request)?).await?)
}

async fn delete<C: Chaos>(State(chaos): State<Arc<C>>, Path(name): Path<String>, caller: Caller) -> Answer {
    answer(chaos.delete_operation(caller.request(v1::DeleteOperationRequest { name })?).await?)
}
