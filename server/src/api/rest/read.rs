//! Reading requests: bodies, queries, and what goes along with a call.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, Request},
};
use chaos_kitty::{Code, Problem, bounds, json, limits};
use http::{HeaderMap, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::{Message, Name};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Refusal;
use crate::listen::PeerInfo;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const TRACEPARENT: &str = "traceparent";

/// Who calls, as the service wants to know it: the peer, and the trace it is part of.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    peer: PeerInfo,
    traceparent: Option<tonic::metadata::AsciiMetadataValue>,
}

impl Caller {
    /// The call, as if it had come by gRPC.
    ///
    /// # Errors
    /// A field is over its bounds.
    pub(super) fn request<T: Message + Name>(self, message: T) -> Result<tonic::Request<T>, Problem> {
        bounds::check(&message)?;
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(self.peer);
        if let Some(traceparent) = self.traceparent {
            request.metadata_mut().insert(TRACEPARENT, traceparent);
        }
        Ok(request)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<PeerInfo>().cloned().unwrap_or_default();
        let traceparent = parts.headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Self { peer, traceparent })
    }
}

/// The query as a message: names as in proto JSON, each at most once.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self(message("query", pairs(parts)?)?))
    }
}

/// A message of fields, each at most once.
fn message<T: DeserializeOwned>(place: &str, pairs: Vec<(String, String)>) -> Result<T, Problem> {
    let mut fields = Map::new();
    for (name, value) in pairs {
        // Proto JSON takes numbers as strings, but not booleans.
        let value = value.parse().map(Value::Bool).unwrap_or(Value::String(value));
        if fields.insert(name.clone(), value).is_some() {
            return Err(Problem::invalid(&name, "given more than once"));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| Problem::invalid(place, error))
}

/// Fields of the query, of a form in the body, or of both.
pub(super) struct Told<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Told<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = in_time(body).await?;
        let mut fields = pairs(&parts)?;
        if !bytes.is_empty() {
            let hint = "put the fields into the query, or send them with curl -d as a form";
            is_media(&parts.headers, "application/x-www-form-urlencoded", hint)?;
            let form: Vec<(String, String)> =
                serde_urlencoded::from_bytes(&bytes).map_err(|error| Problem::invalid("form", error))?;
            fields.extend(form);
        }
        Ok(Self(message("query or form", fields)?))
    }
}

/// The query's fields in their order.
pub(super) fn pairs(parts: &Parts) -> Result<Vec<(String, String)>, Problem> {
    let query =
        Query::try_from_uri(&parts.uri).map_err(|error| Problem::invalid("query", error.body_text()))?;
    Ok(query.0)
}

/// The body as a message in proto JSON. An empty one is the empty message.
pub(super) struct Sent<T>(pub(super) T);

impl<T: Name + Default + DeserializeOwned, S: Sync> FromRequest<S> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = in_time(body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_media(&parts.headers, "application/json", "send it with -H 'Content-Type: application/json'")?;
        let malformed = |what: String| {
            Problem::new(Code::MalformedJson, format!("body: {what}"))
                .hint("the fields are those of chaoskitty/v1/*.proto, in proto JSON")
        };
        Ok(Self(json::read(&bytes).map_err(malformed)?))
    }
}

async fn in_time(body: Body) -> Result<bytes::Bytes, Problem> {
    let read = timeout(BODY_TIMEOUT, bytes(body)).await;
    read.map_err(|_| Problem::invalid("body", "it did not arrive in time"))?
}

async fn bytes(body: Body) -> Result<bytes::Bytes, Problem> {
    match Limited::new(body, limits::BODY_BYTES).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::TooLarge, format!("body: it is over {} bytes", limits::BODY_BYTES)))
        }
        Err(error) => Err(Problem::invalid("body", format!("it broke off: {error}"))),
    }
}

/// Parameters such as a charset are accepted: text is UTF-8 whatever they say.
fn is_media(headers: &HeaderMap, wanted: &str, hint: &str) -> Result<(), Problem> {
    let media = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    let essence = media.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("a body of the media type {media:?}")).hint(hint))
}
