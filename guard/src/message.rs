//! What agent and guard say to each other over their socket pair: one JSON object a line.
//!
//! Times are CLOCK_BOOTTIME, as [`crate::clock::boot_time`] reads it.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Undo, revert::Outcome};

/// Longest line. A tree of 50,000 processes fits.
pub const LINE_BYTES: usize = 4 << 20;

/// From the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Hold these undos, and carry them out at the end. Known id: they replace the earlier ones. Answered
    /// with [`Answer::Armed`], unless the fault has ended meanwhile.
    Arm {
        /// The action's.
        id: String,
        /// In the order in which slow ones are carried out.
        undos: Vec<Undo>,
        /// When the fault ends at the latest, the lease permitting. `None`: as armed before.
        deadline: Option<Duration>,
    },
    /// The fault is in force, nothing more of it will be injected, and this is its exact end. Without this (or
    /// [`Order::Revert`]) it is put back every second once it has ended.
    Deadline {
        /// The action's.
        id: String,
        /// Exact end.
        at: Duration,
    },
    /// The lease was renewed: everything ends at this time at the latest.
    Lease {
        /// Never before the earlier one.
        until: Duration,
    },
    /// Nothing more of it will be injected: put it back now, unless that was done or is under way. A settled
    /// [`Answer::Reverted`] follows, if none was sent before.
    Revert {
        /// The action's.
        id: String,
    },
    /// Put everything back now.
    RevertAll,
    /// The agent has seen that it is put back (or that nothing was injected): forget it.
    Disarm {
        /// The action's.
        id: String,
    },
    /// Answer with [`Answer::Alive`].
    Ping,
}

/// From the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It watches the agent and the clock.
    Ready,
    /// The undos are held: the fault may be injected.
    Armed {
        /// The action's.
        id: String,
    },
    /// A fault was put back, or what could be done was done.
    Reverted(Reverted),
    /// The answer to a ping.
    Alive,
}

/// How a fault was put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverted {
    /// The action's.
    pub id: String,
    /// What ended it.
    pub why: Why,
    /// When that began: what was over before was not its doing.
    #[serde(default)]
    pub began: Duration,
    /// When all local undos had been issued.
    pub at: Duration,
    /// It was put back for good: nothing of it was being injected any more when that began.
    pub settled: bool,
    /// One for each undo, local ones first.
    pub outcomes: Vec<Outcome>,
}

impl Reverted {
    /// Those that failed: a person is needed.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.failure.is_some())
    }
}

/// What ended a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its duration was over.
    Deadline,
    /// The lease ran out.
    Lease,
    /// The agent said so.
    Ordered,
    /// The agent is gone.
    AgentGone,
    /// The guard was told to end by a signal.
    Signal,
    /// The guard died, and the agent put things back in its place.
    GuardGone,
}

/// A message as a line, newline included.
///
/// # Errors
/// It can not be written as JSON, which does not happen with these types.
pub fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Bytes as they come, cut into messages.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message. `None`: more bytes are needed.
    ///
    /// # Errors
    /// A line is no message, or longer than [`LINE_BYTES`].
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            let fits = self.bytes.len() <= LINE_BYTES;
            return if fits { Ok(None) } else { Err(io::Error::other("a message is too long")) };
        };
        let message = serde_json::from_slice(&self.bytes[..end]);
        self.bytes.drain(..=end);
        Ok(Some(message?))
    }
}
