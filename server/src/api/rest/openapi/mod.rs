//! `GET /openapi.json`, `GET /v3/api-docs`, `GET /docs`: the table of paths and the compiled contract as an OpenAPI
//! document, and a page to browse it.

mod contract;
mod schema;
#[cfg(test)]
mod tests;

use axum::{
    body::{Body, Bytes},
    response::Response,
    routing::get,
};
use chaos_kitty::Problem;
use http::{
    HeaderValue,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::{
    contract::{Call, Contract},
    schema::{Schemas, described},
};
use super::bind::{Asks, Binding, FieldKind, Routes, Shape, path};

const PAGE: &str = include_str!("page.html");
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const ABOUT: &str = "The REST binding of the gRPC service chaoskitty.v1.Chaos. Bodies are proto JSON, apart from the bare \
                     lists, maps and words of the earlier experiment manager. Names of fields may be written in camelCase or \
                     as in the .proto files.";

/// The paths of these, and of those that tell of them.
pub(super) fn with_documents<C: Send + Sync + 'static>(routes: Routes<C>) -> Result<Routes<C>, Problem> {
    let about = "This document.";
    let listed = [
        path("GET", "/openapi.json", about, Shape::Object),
        path("GET", "/v3/api-docs", about, Shape::Object),
        path("GET", "/docs", "A page to browse this document.", Shape::Page),
    ];
    let table: Vec<_> = routes.table.iter().chain(&listed).cloned().collect();
    let document = document(&Contract::read()?, &table);
    let document = Bytes::from(serde_json::to_vec(&document).map_err(Problem::internal)?);
    let serve = |body: &Bytes, media: &'static str| {
        let body = body.clone();
        get(async move || served(body, media))
    };
    let [one, other, browsed] = listed;
    Ok(routes
        .with(one, serve(&document, "application/json"))
        .with(other, serve(&document, "application/json"))
        .with(browsed, get(browse)))
}

/// The page. A browser runs only the script and the styles that carry the number of this very answer.
async fn browse() -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = PAGE.replace("<script>", &format!("<script nonce=\"{nonce}\">"));
    let page = page.replace("<style>", &format!("<style nonce=\"{nonce}\">"));
    let mut response = served(page.into(), "text/html; charset=utf-8");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn served(body: Bytes, media: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

fn document(contract: &Contract, table: &[Binding]) -> Value {
    let mut schemas = Schemas::new(contract);
    let mut paths: Map<String, Value> = Map::new();
    for binding in table {
        let operation = operation(contract, &mut schemas, binding);
        let methods = paths.entry(binding.path.replace("{*", "{")).or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(binding.method.to_lowercase(), operation);
        }
    }
    let problem = json!({ "description": "What went wrong, with its number and what to do.",
        "content": { "application/json": { "schema": schemas.refer("Problem") } } });
    json!({
        "openapi": "3.0.3",
        "info": { "title": "ChaosKitty", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "paths": paths,
        "components": { "schemas": schemas.all(), "responses": { "Problem": problem } },
    })
}

fn operation(contract: &Contract, schemas: &mut Schemas<'_>, binding: &Binding) -> Value {
    let call = contract.calls.get(binding.call);
    let about = if binding.about.is_empty() { call.map_or("", |call| &call.about) } else { binding.about };
    let about = without_path(about);
    let in_path = placeholders(binding.path);
    let mut parameters: Vec<Value> =
        in_path.iter().map(|name| parameter(name, "path", json!({ "type": "string" }), "")).collect();
    parameters.extend(in_query(contract, schemas, binding, call, &in_path));
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let responses = match binding.answers {
        Shape::Refusal(status) => json!({ status.to_string(): problem }),
        shape => json!({ "200": answer(schemas, shape, call), "default": problem }),
    };
    let mut operation = json!({
        "operationId": id(binding),
        "summary": first_sentence(&about),
        "description": about,
        "tags": [binding.path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters,
        "responses": responses,
    });
    if let (Some(body), Value::Object(operation)) =
        (body(contract, schemas, binding, call, &in_path), &mut operation)
    {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// Fields of the query: those that are named, or those of the call's message where there is no body.
fn in_query(
    contract: &Contract,
    schemas: &mut Schemas<'_>,
    binding: &Binding,
    call: Option<&Call>,
    in_path: &[&str],
) -> Vec<Value> {
    if let Asks::Fields(fields) | Asks::Both(fields) = binding.asks {
        return fields.iter().map(|(name, kind)| parameter(name, "query", kind.schema(), "")).collect();
    }
    let request =
        call.and_then(|call| contract.messages.get(&call.request)).filter(|_| !has_body(binding.method));
    let fields = request.into_iter().flat_map(|request| &request.fields);
    let fields = fields.filter(|field| !in_path.contains(&field.name()));
    fields
        .map(|field| {
            parameter(
                field.name(),
                "query",
                schemas.field(&field.descriptor, field.is_repeated()),
                &field.about,
            )
        })
        .collect()
}

fn body(
    contract: &Contract,
    schemas: &mut Schemas<'_>,
    binding: &Binding,
    call: Option<&Call>,
    in_path: &[&str],
) -> Option<Value> {
    let message = match binding.asks {
        Asks::Body(message) => message,
        Asks::Message | Asks::Both(_) if has_body(binding.method) => {
            let name = call?.request.as_str();
            let fields = &contract.messages.get(name)?.fields;
            fields.iter().any(|field| !in_path.contains(&field.name())).then_some(name)?
        }
        _ => return None,
    };
    Some(json!({ "content": { "application/json": { "schema": schemas.refer(message) } } }))
}

fn has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

fn answer(schemas: &mut Schemas<'_>, shape: Shape, call: Option<&Call>) -> Value {
    let (media, schema) = match shape {
        Shape::Nothing => return json!({ "description": "done" }),
        Shape::Page => ("text/html", json!({ "type": "string" })),
        Shape::Events => {
            ("text/event-stream", described(schemas.refer_in_list("Event"), "each as `data` of an event"))
        }
        shape => ("application/json", json_answer(schemas, shape, call)),
    };
    json!({ "description": "done", "content": { media: { "schema": schema } } })
}

fn json_answer(schemas: &mut Schemas<'_>, shape: Shape, call: Option<&Call>) -> Value {
    let word = || json!({ "type": "string" });
    let map = |values: Value| json!({ "type": "object", "additionalProperties": values });
    let list = |elements: Value| json!({ "type": "array", "items": elements });
    match shape {
        Shape::Message => {
            call.map_or_else(|| json!({ "type": "object" }), |call| schemas.refer(&call.answer))
        }
        Shape::One(message) => schemas.refer(message),
        Shape::List(message) => list(schemas.refer(message)),
        Shape::Field(name, message) => {
            let elements = list(schemas.refer(message));
            json!({ "type": "object", "properties": { name: elements } })
        }
        Shape::Map(keys, message) => described(map(schemas.refer(message)), &format!("Keys: {keys}.")),
        Shape::WordLists => map(list(word())),
        Shape::WordMap => map(word()),
        Shape::WordList => list(word()),
        Shape::Numbers => map(json!({ "type": "integer" })),
        Shape::Word(words) => json!({ "type": "string", "enum": words }),
        Shape::BareWord => described(word(), "The word `ok`, without quotes."),
        Shape::Switch => json!({ "type": "boolean" }),
        _ => json!({ "type": "object" }),
    }
}

impl FieldKind {
    fn schema(self) -> Value {
        match self {
            Self::Word => json!({ "type": "string" }),
            Self::Words => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Switch => json!({ "type": "boolean" }),
            Self::Duration => json!({ "type": "string", "example": "PT15M" }),
        }
    }
}

fn parameter(name: &str, place: &str, schema: Value, about: &str) -> Value {
    let parameter = json!({ "name": name, "in": place, "required": place == "path", "schema": schema });
    described(parameter, about)
}

/// Names in braces.
fn placeholders(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|part| Some(part.split('}').next()?.trim_start_matches('*'))).collect()
}

/// e.g. `get_experiment_id`.
fn id(binding: &Binding) -> String {
    let words = binding.path.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let method = binding.method.to_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

/// With its full stop.
fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

/// A comment without the path that stands beside the call.
fn without_path(about: &str) -> String {
    let line = |line: &str| {
        let path = METHODS.iter().filter_map(|method| {
            let at = line.find(method)?;
            line[at + method.len()..].starts_with([' ', '|']).then_some(at)
        });
        line[..path.min().unwrap_or(line.len())].trim_end().to_owned()
    };
    about.lines().map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}
