//! Groom: random garbage collections.

use std::time::Duration;

use chaos_kitty::v1::{self, action, action_kind::Name, operation::Kind as Wire};
use rand_chacha::ChaCha8Rng;

use super::kind::Kind;

/// Makes garbage collectors run.
#[derive(Debug)]
pub(super) struct Groom;

impl Kind for Groom {
    const NAME: &'static str = "groom";
    const INTERVAL: Duration = Duration::from_secs(60);
    const PROBABILITY: f64 = 0.2;
    const ACTION: Name = Name::Gc;

    fn parameters(&self) -> Wire {
        Wire::Groom(v1::Groom {})
    }

    fn action(&self, _: &mut ChaCha8Rng) -> v1::Action {
        v1::Action { duration: None, kind: Some(action::Kind::Gc(v1::TriggerGc {})) }
    }

    fn tell(&self, operation: &str, target: &v1::Target, _: &v1::Action) {
        tracing::info!(operation, target_id = target.id, name = target.name, "Groom groomed!");
    }
}
