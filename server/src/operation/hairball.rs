//! Hairball: random delays.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, action, action_kind::Name, operation::Kind as Wire},
};
use rand_chacha::ChaCha8Rng;

use super::kind::{Kind, Span};

/// Delays targets, each time for a time between two.
#[derive(Debug)]
pub(super) struct Hairball {
    delay: Span,
}

impl Hairball {
    /// Reads the parameters; `longest` is the server's maximum of a fault.
    pub(super) fn read(wire: v1::Hairball, longest: Duration) -> Result<Self, Problem> {
        let defaults = [Duration::from_millis(500), Duration::from_secs(5)];
        let names = ["hairball.min_delay", "hairball.max_delay"];
        Ok(Self { delay: Span::read(names, wire.min_delay, wire.max_delay, defaults, longest)? })
    }
}

impl Kind for Hairball {
    const NAME: &'static str = "hairball";
    const INTERVAL: Duration = Duration::from_secs(30);
    const PROBABILITY: f64 = 0.3;
    const ACTION: Name = Name::Delay;

    fn parameters(&self) -> Wire {
        let (min_delay, max_delay) = self.delay.wire();
        Wire::Hairball(v1::Hairball { min_delay, max_delay })
    }

    fn action(&self, random: &mut ChaCha8Rng) -> v1::Action {
        v1::Action {
            duration: Some(self.delay.draw(random).into()),
            kind: Some(action::Kind::Delay(v1::Delay::default())),
        }
    }

    fn tell(&self, operation: &str, target: &v1::Target, action: &v1::Action) {
        let duration = action.duration.as_ref();
        tracing::info!(
            operation,
            target_id = target.id,
            name = target.name,
            ?duration,
            "Hairball hacked up!"
        );
    }
}
