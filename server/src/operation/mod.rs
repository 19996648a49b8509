//! Operations: loops that apply one kind of action to random targets.
//!
//! | module | job |
//! |---|---|
//! | `hairball`, `scratch`, `floop`, `zoomies`, `yowl`, `groom` | what each kind does: parameters, defaults, action |
//! | `kind` | what the six have in common, and which one a name means |
//! | `spec` | the part of an operation that is the same for all: name, selector, interval, probability, seed |
//! | `decide` | one round as a pure function of seed, round and roster |
//! | `interval` | when the next round is, as a pure function of the wall clock |
//! | `strike` | one hit, from its order to its end |
//! | `roster` | the targets of one operation, in order |
//! | `rounds` | the loop, behind the trait [`Operation`] |
//! | `registry` | all that run: put, deleted, listed, restarted from the store |
//! | `port` | what the rest of the server does for them |

mod decide;
mod floop;
mod groom;
mod hairball;
mod interval;
mod kind;
mod port;
mod registry;
mod roster;
mod rounds;
mod scratch;
mod spec;
mod strike;
#[cfg(test)]
mod tests;
mod yowl;
mod zoomies;

use std::sync::Arc;

use chaos_kitty::v1;
use futures_util::future::BoxFuture;

pub use port::{Port, RosterChange};
pub use registry::{Operations, WallClock};

/// An operation that has been put: it is told who may be hit, and strikes at them for as long as it runs.
trait Operation: Send + Sync {
    /// A target is there, or has changed. One that the operation is not meant for is ignored, or forgotten.
    fn register(&self, target: &Arc<v1::Target>);

    /// A target is gone. An id that was never registered is ignored.
    fn remove(&self, target_id: &str);

    /// What it is and what it has done so far.
    fn status(&self) -> v1::OperationStatus;

    /// Strikes at each multiple of the interval until the future is dropped. An error of a round is logged
    /// and counted, and the loop goes on.
    fn run(self: Arc<Self>) -> BoxFuture<'static, ()>;
}
