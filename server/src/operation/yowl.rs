//! Yowl: random errors.

use std::time::Duration;

use chaos_kitty::{
    Problem,
    v1::{self, action, action_kind::Name, operation::Kind as Wire},
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::kind::{Kind, fault_time};

/// What the kitty says when nobody tells it what to say.
const MESSAGES: [&str; 5] = [
    chaos_kitty::limits::DEFAULT_ERROR,
    "Hiss! Something is not right.",
    "Meow? Nobody expected this error.",
    "Yowl! The food bowl is empty.",
    "Mrrow! The kitty sat on the keyboard.",
];
const HOLD: Duration = Duration::from_secs(5);
/// Most messages and longest message, in bytes: every strike carries one.
const MOST: usize = 100;
const LONGEST_MESSAGE: usize = 1024;

/// Makes guarded requests and calls fail for a while, each time with one of several messages.
#[derive(Debug)]
pub(super) struct Yowl {
    messages: Vec<String>,
    hold: Duration,
}

impl Yowl {
    /// Reads the parameters; `longest` is the server's maximum of a fault.
    pub(super) fn read(wire: v1::Yowl, longest: Duration) -> Result<Self, Problem> {
        let mut messages = wire.messages;
        if messages.is_empty() {
            messages.extend(MESSAGES.map(str::to_owned));
        }
        if messages.len() > MOST {
            let count = messages.len();
            return Err(Problem::invalid("yowl.messages", format_args!("{count} messages, at most {MOST}")));
        }
        for (index, message) in messages.iter().enumerate() {
            let field = format!("yowl.messages[{index}]");
            if message.trim().is_empty() {
                return Err(
                    Problem::invalid(&field, "empty").hint("leave all messages out for the kitty's own")
                );
            }
            if message.len() > LONGEST_MESSAGE {
                let length = message.len();
                return Err(Problem::invalid(
                    &field,
                    format_args!("{length} bytes, at most {LONGEST_MESSAGE}"),
                ));
            }
        }
        Ok(Self { messages, hold: fault_time("yowl.duration", wire.duration, HOLD, longest)? })
    }
}

impl Kind for Yowl {
    const NAME: &'static str = "yowl";
    const INTERVAL: Duration = Duration::from_secs(45);
    const PROBABILITY: f64 = 0.15;
    const ACTION: Name = Name::Error;

    fn parameters(&self) -> Wire {
        Wire::Yowl(v1::Yowl { messages: self.messages.clone(), duration: Some(self.hold.into()) })
    }

    fn action(&self, random: &mut ChaCha8Rng) -> v1::Action {
        let index = random.random_range(0..self.messages.len() as u64) as usize;
        let message = self.messages.get(index).cloned().unwrap_or_default();
        v1::Action {
            duration: Some(self.hold.into()),
            kind: Some(action::Kind::Error(v1::RaiseError { message, ..Default::default() })),
        }
    }

    fn tell(&self, operation: &str, target: &v1::Target, action: &v1::Action) {
        // Not `message`: that is the log line's own field, which this would overwrite.
        let error = match &action.kind {
            Some(action::Kind::Error(error)) => error.message.as_str(),
            _ => "",
        };
        tracing::info!(operation, target_id = target.id, name = target.name, error, hold = ?self.hold, "Yowl yowled!");
    }
}
