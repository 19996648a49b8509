//! Scratch: random kills.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    signal::Signal,
    v1::{self, action, action_kind::Name, operation::Kind as Wire},
};
use rand_chacha::ChaCha8Rng;

use super::kind::Kind;

/// Sends a signal.
#[derive(Debug)]
pub(super) struct Scratch {
    signal: Signal,
}

impl Scratch {
    /// Reads the parameters.
    pub(super) fn read(wire: v1::Scratch) -> Result<Self, Problem> {
        Ok(Self { signal: Signal::parse("scratch.signal", &wire.signal)? })
    }
}

impl Kind for Scratch {
    const NAME: &'static str = "scratch";
    const INTERVAL: Duration = Duration::from_secs(60);
    const PROBABILITY: f64 = 0.1;
    const ACTION: Name = Name::Kill;

    fn parameters(&self) -> Wire {
        Wire::Scratch(v1::Scratch { signal: self.signal.name.to_owned() })
    }

    fn action(&self, _: &mut ChaCha8Rng) -> v1::Action {
        let kill = v1::Kill { signal: self.signal.name.to_owned(), ..v1::Kill::default() };
        v1::Action { duration: None, kind: Some(action::Kind::Kill(kill)) }
    }

    fn tell(&self, operation: &str, target: &v1::Target, _: &v1::Action) {
        let signal = self.signal.name;
        tracing::info!(
            operation,
            target_id = target.id,
            name = target.name,
            signal,
            "Scratch took down victim!"
        );
    }
}
