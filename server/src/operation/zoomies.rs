//! Zoomies: random processor spikes.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, action, action_kind::Name, operation::Kind as Wire},
};
use rand_chacha::ChaCha8Rng;

use super::kind::{Kind, Span};

/// Burns one core at 100 %, each time for a time between two.
#[derive(Debug)]
pub(super) struct Zoomies {
    duration: Span,
}

impl Zoomies {
    /// Reads the parameters; `longest` is the server's maximum of a fault.
    pub(super) fn read(wire: v1::Zoomies, longest: Duration) -> Result<Self, Problem> {
        let defaults = [Duration::from_millis(500), Duration::from_secs(3)];
        let names = ["zoomies.min_duration", "zoomies.max_duration"];
        Ok(Self { duration: Span::read(names, wire.min_duration, wire.max_duration, defaults, longest)? })
    }
}

impl Kind for Zoomies {
    const NAME: &'static str = "zoomies";
    const INTERVAL: Duration = Duration::from_secs(30);
    const PROBABILITY: f64 = 0.2;
    const ACTION: Name = Name::Cpu;

    fn parameters(&self) -> Wire {
        let (min_duration, max_duration) = self.duration.wire();
        Wire::Zoomies(v1::Zoomies { min_duration, max_duration })
    }

    fn action(&self, random: &mut ChaCha8Rng) -> v1::Action {
        v1::Action {
            duration: Some(self.duration.draw(random).into()),
            kind: Some(action::Kind::Cpu(v1::SpinCpu { cores: 1, load: 100 })),
        }
    }

    fn tell(&self, operation: &str, target: &v1::Target, action: &v1::Action) {
        let duration = action.duration.as_ref();
        tracing::info!(operation, target_id = target.id, name = target.name, ?duration, "Zoomies zoomed!");
    }
}
