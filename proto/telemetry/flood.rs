//! Whoever can cause a line of the log can cause a million: more than [`LINES`] a second of one place in the code are
//! left out, and counted.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{Event, Metadata, callsite::Identifier, level_filters::LevelFilter};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one place within a second.
const LINES: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Lines that were left out of this process's log.
pub(super) fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flood(Mutex<Second>);

#[derive(Debug)]
struct Second {
    since: Instant,
    lines: HashMap<Identifier, u32>,
}

impl Flood {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Second { since: Instant::now(), lines: HashMap::new() }))
    }
}

impl Second {
    /// Counts one line more.
    fn admits(&mut self, place: Identifier, now: Instant) -> bool {
        if now.duration_since(self.since) >= SECOND {
            self.since = now;
            self.lines.clear();
        }
        let lines = self.lines.entry(place).or_default();
        *lines = lines.saturating_add(1);
        *lines <= LINES
    }
}

impl<S> Filter<S> for Flood {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    // Which levels are wanted is for the filter beside it to say: what that keeps out is not counted here, and costs nothing.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let place = event.metadata().callsite();
        let admitted = self.0.lock().map_or(true, |mut second| second.admits(place, Instant::now()));
        if !admitted {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing::Subscriber;
    use tracing_subscriber::{
        Layer, Registry, filter::FilterExt, layer::SubscriberExt, util::SubscriberInitExt,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Counted {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_flood_of_one_place_is_cut_and_counted_and_others_are_heard() {
        let flood = Flood::new();
        // A second that never ends.
        flood.0.lock().unwrap().since = Instant::now() + Duration::from_secs(3600);
        let lines = Counted::default();
        let wanted = FilterExt::and(LevelFilter::INFO, flood);
        let _subscribed = Registry::default().with(lines.clone().with_filter(wanted)).set_default();
        let before = left_out();
        for _ in 0..1000 {
            tracing::warn!("the same again");
            tracing::debug!("nobody wants this");
        }
        tracing::warn!("another");
        assert_eq!(lines.0.load(Ordering::Relaxed), u64::from(LINES) + 1);
        assert_eq!(left_out() - before, 900);
    }

    #[test]
    fn the_next_second_begins_anew() {
        let mut second = Second { since: Instant::now(), lines: HashMap::new() };
        let place = tracing::callsite::Identifier(&CALLSITE);
        let now = second.since;
        assert_eq!((0..500).filter(|_| second.admits(place.clone(), now)).count(), LINES as usize);
        assert!(second.admits(place, now + SECOND));
    }

    static CALLSITE: Nowhere = Nowhere;

    struct Nowhere;

    impl tracing::Callsite for Nowhere {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &tracing::Metadata<'_> {
            unreachable!("nobody asks")
        }
    }
}
