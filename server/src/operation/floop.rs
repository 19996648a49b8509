//! Floop: random memory spikes.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, action, action_kind::Name, operation::Kind as Wire},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::kind::{Kind, fault_time};

const MIN_SIZE_MB: u32 = 10;
const MAX_SIZE_MB: u32 = 100;
const HOLD: Duration = Duration::from_secs(2);
/// Bytes of a megabyte, as in the earlier system.
const MB: u64 = 1 << 20;

/// Allocates a whole number of megabytes between two, both included, and holds them.
#[derive(Debug)]
pub(super) struct Floop {
    min: u32,
    max: u32,
    hold: Duration,
}

impl Floop {
    /// Reads the parameters; `longest` is the server's maximum of a fault.
    pub(super) fn read(wire: v1::Floop, longest: Duration) -> Result<Self, Problem> {
        let filled = |size: u32, default: u32| if size == 0 { default } else { size };
        let (min, max) = (filled(wire.min_size_mb, MIN_SIZE_MB), filled(wire.max_size_mb, MAX_SIZE_MB));
        if min > max {
            return Err(Problem::invalid(
                "floop.min_size_mb",
                format_args!("{min} is more than floop.max_size_mb {max}"),
            ));
        }
        let hold = fault_time("floop.hold_duration", wire.hold_duration, HOLD, longest)?;
        Ok(Self { min, max, hold })
    }
}

impl Kind for Floop {
    const NAME: &'static str = "floop";
    const INTERVAL: Duration = Duration::from_secs(30);
    const PROBABILITY: f64 = 0.2;
    const ACTION: Name = Name::Memory;

    fn parameters(&self) -> Wire {
        Wire::Floop(v1::Floop {
            min_size_mb: self.min,
            max_size_mb: self.max,
            hold_duration: Some(self.hold.into()),
        })
    }

    fn action(&self, random: &mut ChaCha8Rng) -> v1::Action {
        let size_bytes = u64::from(random.random_range(self.min..=self.max)) * MB;
        v1::Action {
            duration: Some(self.hold.into()),
            kind: Some(action::Kind::Memory(v1::AllocateMemory { size_bytes })),
        }
    }

    fn tell(&self, operation: &str, target: &v1::Target, action: &v1::Action) {
        let size_mb = match &action.kind {
            Some(action::Kind::Memory(memory)) => memory.size_bytes / MB,
            _ => 0,
        };
        tracing::info!(operation, target_id = target.id, name = target.name, size_mb, hold = ?self.hold, "Floop flooped!");
    }
}
