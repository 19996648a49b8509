use chaos_kitty::{
    Problem, Timestamp,
    v1::{
        Event, WatchEventsRequest,
        event::{Heartbeat, Kind},
    },
};
use futures_util::{StreamExt, stream, stream::BoxStream};
use tonic::Status;

use super::{Service, heartbeat::beating};

pub(super) fn watch(
    service: &Service,
    request: &WatchEventsRequest,
) -> Result<BoxStream<'static, Result<Event, Status>>, Problem> {
    let watch = service.bus.watch(&request.kinds)?;
    let (epoch, last) = (service.fleet.epoch(), watch.from());
    let after = request.after.as_ref();
    let missed = after.filter(|after| after.epoch == epoch).map(|after| last.saturating_sub(after.sequence));
    // Whoever says where it was is told where it is now.
    let first = after.map(|_| Ok(heartbeat(last, epoch, missed.unwrap_or_default())));
    let events = watch.map(|event| event.map(|event| Event::clone(&event)).map_err(Status::from));
    let bus = service.bus.clone();
    let beat = move |_: &Event| heartbeat(bus.last(), epoch, 0);
    let beats = beating(events, service.heartbeat, Some(heartbeat(last, epoch, 0)), beat);
    Ok(stream::iter(first).chain(beats).boxed())
}

fn heartbeat(sequence: u64, epoch: u64, missed: u64) -> Event {
    let kind = Some(Kind::Heartbeat(Heartbeat { epoch, missed }));
    Event { sequence, at: Some(Timestamp::now()), kind, ..Event::default() }
}
