//! Tidying up: the application's own collector where it named one, else the allocator's trim.

use std::{fmt, time::Instant};

use chaos_kitty::{
    Code, Problem,
    v1::{GcResult, action_result::Kind as Figures, evidence::Phase},
};

use super::{Application, Outcome, Scene};
use crate::{procfs, sys};

/// What a collector of the application's own counts. The SDK adds resident bytes and the pause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcFigures {
    /// Collections so far, before this one. `None`: it does not count.
    pub collections_before: Option<u64>,
    /// Collections so far, with this one. `None`: it does not count.
    pub collections_after: Option<u64>,
    /// What collected, e.g. "jemalloc".
    pub runtime: String,
}

/// A collector of the application's own.
pub(crate) struct Collector(pub(crate) Box<dyn Fn() -> GcFigures + Send + Sync>);

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

/// Whether a worker offers it.
pub(crate) const fn supported(own: bool) -> bool {
    own || cfg!(target_env = "gnu")
}

/// Whether there is anything to collect with.
pub(crate) fn check(application: &Application) -> Result<(), Problem> {
    if supported(application.collector.is_some()) {
        return Ok(());
    }
    Err(Problem::new(Code::Unsupported, "this allocator can not be told to give memory back")
        .hint("name one's own collector with Builder::on_gc"))
}

/// Collects, and measures.
pub(crate) fn collect(scene: &Scene<'_>) -> Outcome {
    let bytes_before = procfs::resident_bytes();
    let began = Instant::now();
    let figures = match &scene.application.collector {
        Some(collector) => collector.0(),
        None => {
            sys::trim();
            GcFigures { runtime: "allocator".to_owned(), ..Default::default() }
        }
    };
    let pause = began.elapsed();
    let bytes_after = procfs::resident_bytes();
    Outcome::of(Figures::Gc(GcResult {
        collections_before: figures.collections_before,
        collections_after: figures.collections_after,
        bytes_before,
        bytes_after,
        pause: Some(pause.into()),
        runtime: figures.runtime,
    }))
    .seen(Phase::Before, "resident bytes", bytes_before)
    .seen(Phase::After, "resident bytes", bytes_after)
}
