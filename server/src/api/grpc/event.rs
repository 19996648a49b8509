use chaos_kitty::{
    Problem,
    v1::{Event, WatchEventsRequest},
};
use futures_util::{StreamExt, stream::BoxStream};
use tonic::Status;

use super::Service;

pub(super) fn watch(
    service: &Service,
    request: &WatchEventsRequest,
) -> Result<BoxStream<'static, Result<Event, Status>>, Problem> {
    let events = service.bus.watch(&request.kinds)?;
    Ok(events.map(|event| event.map(|event| Event::clone(&event)).map_err(Status::from)).boxed())
}
