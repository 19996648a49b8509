//! `GET /operation`, `GET`, `PUT` and `DELETE /operation/{name}`

use std::{pin::pin, sync::Arc};

use axum::{
    extract::{Path, State},
    routing::{self, get},
};
use chaos_kitty::{
    Code, Problem,
    v1::{self, chaos_server::Chaos},
};
use futures_util::TryStreamExt;

use super::{
    Answer, answer,
    bind::{Asks, Routes, Shape, call},
    json,
    list::{entries, listed},
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
    listed!(chaos, caller, request, list_operations, operations, "operations")
}

async fn show<C: Chaos>(State(chaos): State<Arc<C>>, Path(name): Path<String>, caller: Caller) -> Answer {
    let all = entries(|page_token| {
        let request = v1::ListOperationsRequest { page_token, ..Default::default() };
        let (chaos, request) = (Arc::clone(&chaos), caller.clone().request(request));
        async move {
            let page = chaos.list_operations(request?).await?.into_inner();
            Ok((page.operations, page.next_page_token))
        }
    });
    let mut named = pin!(all.try_filter(|status| {
        std::future::ready(status.operation.as_ref().is_some_and(|operation| operation.name == name))
    }));
    let found = named.try_next().await?.ok_or_else(|| {
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
