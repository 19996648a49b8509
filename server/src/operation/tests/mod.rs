//! Operations as a whole: real registry, real loops, real store, on the virtual clock. Only the fleet is the
//! test's own.

mod fleet;
mod logs;
mod put;
mod replay;
mod rounds;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use chaos_kitty::v1::{self, operation::Kind};
use tokio::time::Instant;

use super::{Operations, Port, WallClock};
use crate::store::Store;
use fleet::Fleet;

/// A wall clock that follows Tokio's, and can be set.
#[derive(Clone)]
struct Clock {
    began: Instant,
    /// Seconds by which it was set.
    set_by: Arc<AtomicI64>,
}

impl Clock {
    fn new() -> Self {
        Self { began: Instant::now(), set_by: Arc::default() }
    }

    /// Since the Unix epoch.
    fn now(&self) -> Duration {
        let real = Duration::from_millis(1_700_000_003_250) + self.began.elapsed();
        let set_by = self.set_by.load(Ordering::SeqCst);
        let by = Duration::from_secs(set_by.unsigned_abs());
        if set_by < 0 { real - by } else { real + by }
    }

    fn set_by(&self, seconds: i64) {
        self.set_by.fetch_add(seconds, Ordering::SeqCst);
    }

    fn wall(&self) -> WallClock {
        let clock = self.clone();
        Arc::new(move || SystemTime::UNIX_EPOCH + clock.now())
    }
}

/// Operations on that fleet, with an empty store.
fn operations(fleet: &Arc<Fleet>, clock: &Clock) -> Operations {
    let port: Arc<dyn Port> = Arc::clone(fleet) as Arc<dyn Port>;
    Operations::start(port, Store::in_memory().expect("a store in memory"), clock.wall())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hairball(name: &str, interval: Duration) -> v1::Operation {
    v1::Operation {
        name: name.to_owned(),
        interval: Some(interval.into()),
        probability: Some(1.0),
        kind: Some(Kind::Hairball(v1::Hairball::default())),
        ..v1::Operation::default()
    }
}

fn named(name: &str) -> v1::Operation {
    v1::Operation { name: name.to_owned(), ..v1::Operation::default() }
}

/// Lets `time` pass on the virtual clock, and everything that is due in it happen.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
