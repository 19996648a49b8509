//! Actions as they come over the wire.

use std::time::Duration;

use chaos_kitty_worker::v1::{self, action::Kind};

fn action(duration: Option<Duration>, kind: Kind) -> v1::Action {
    v1::Action { duration: duration.map(Into::into), kind: Some(kind) }
}

pub(crate) fn delay(duration: Duration) -> v1::Action {
    action(Some(duration), Kind::Delay(v1::Delay::default()))
}

pub(crate) fn hold_back(duration: Duration, each: Duration) -> v1::Action {
    let mode = v1::delay::Mode::Requests.into();
    action(Some(duration), Kind::Delay(v1::Delay { mode, per_request: Some(each.into()) }))
}

pub(crate) fn memory(duration: Duration, size_bytes: u64) -> v1::Action {
    action(Some(duration), Kind::Memory(v1::AllocateMemory { size_bytes }))
}

pub(crate) fn cpu(duration: Duration, cores: u32, load: u32) -> v1::Action {
    action(Some(duration), Kind::Cpu(v1::SpinCpu { cores, load }))
}

pub(crate) fn gc() -> v1::Action {
    action(None, Kind::Gc(v1::TriggerGc {}))
}

pub(crate) fn error(duration: Duration, error: v1::RaiseError) -> v1::Action {
    action(Some(duration), Kind::Error(error))
}

pub(crate) fn boom() -> v1::RaiseError {
    v1::RaiseError { message: "boom".to_owned(), ..Default::default() }
}

pub(crate) fn kill(signal: &str) -> v1::Action {
    action(None, Kind::Kill(v1::Kill { signal: signal.to_owned(), ..v1::Kill::default() }))
}
