use chaos_kitty::{
    Problem,
    v1::{ActionStatus, UnleashRequest},
};
use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Status, metadata::MetadataMap};

use super::{Service, heartbeat::beating};

/// A W3C traceparent has 55 characters; later versions may append to it.
const TRACEPARENT: usize = 256;

pub(super) async fn unleash(
    service: &Service,
    request: Request<UnleashRequest>,
) -> Result<BoxStream<'static, Result<ActionStatus, Status>>, Problem> {
    let traceparent = traceparent(request.metadata());
    let updates = service.actions.unleash(request.into_inner(), traceparent).await?;
    Ok(beating(updates.map(Ok), service.heartbeat, None, ActionStatus::clone))
}

/// The caller's trace context; empty without one.
fn traceparent(metadata: &MetadataMap) -> String {
    let given = metadata.get("traceparent").and_then(|value| value.to_str().ok());
    given.filter(|given| given.len() <= TRACEPARENT).unwrap_or_default().to_owned()
}
