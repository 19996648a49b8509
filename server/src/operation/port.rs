//! What operations need from the rest of the server.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{ActionStatus, Target, UnleashRequest, event},
};
use futures_util::{future::BoxFuture, stream::BoxStream};

/// News of who may be hit.
#[derive(Clone, Debug)]
pub enum RosterChange {
    /// All targets of the fleet; what was known before is forgotten. The first news, and again whenever
    /// changes were missed.
    All(Vec<Arc<Target>>),
    /// A target is new, or has changed.
    Upserted(Arc<Target>),
    /// The target of this id is gone.
    Removed(String),
}

/// What the fleet and those above it do for operations.
pub trait Port: Send + Sync + 'static {
    /// The roster of the whole fleet and its changes, from now on. The stream ends with the server.
    fn roster(&self) -> BoxStream<'static, RosterChange>;

    /// A fault is in force on the target, or may be (UNKNOWN).
    fn under_fault(&self, target_id: &str) -> bool;

    /// The longest duration of a fault that the server admits.
    fn longest_fault(&self) -> Duration;

    /// The RPC Unleash, in process: safety decides, then the order goes out. Resolves with the news of the
    /// one action once it is admitted, or with the reason for which it was refused. The stream ends when the
    /// action is over; dropping it ends no fault.
    fn unleash(
        &self,
        request: UnleashRequest,
    ) -> BoxFuture<'static, Result<BoxStream<'static, ActionStatus>, Problem>>;

    /// Tells watchers. `message` is the line for people.
    fn emit(&self, kind: event::Kind, message: String);
}
