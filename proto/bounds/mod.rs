//! How long, how many, how far: the bounds of every field of the contract, and the one place that holds messages to
//! them before they cost memory. Why it is done so is told in `docs/decisions/0011-bounds.md`.
//!
//! | way in | what is done |
//! |---|---|
//! | gRPC, any message | [`scan`], by the codec, on the undecoded bytes: sub-messages, memory; of requests every field |
//! | REST | [`check`], before the call |
//! | the agents' stream, at either end | [`sift`] and [`check`]: an entry over its bounds is left out, the others stay |

mod entries;
mod scan;
mod schema;
mod table;
#[cfg(test)]
mod tests;

use prost::{Message, Name};

use self::scan::{Room, Scan};
pub use entries::{LeftOut, sift};

use crate::{Code, Problem, limits};

/// The bound of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// Longest, in bytes.
    Text(usize),
    /// Most, and the longest.
    Texts(usize, usize),
    /// Most.
    Many(usize),
    /// Most, the longest key, the longest value (0: it is no text).
    Map(usize, usize, usize),
    /// From nothing to so many seconds.
    Span(u64),
    /// 1970 to 9999.
    Moment,
    /// Most of them.
    Moments(usize),
}

impl Bound {
    const fn most(self) -> Option<usize> {
        match self {
            Self::Texts(most, _) | Self::Many(most) | Self::Map(most, ..) | Self::Moments(most) => Some(most),
            Self::Text(_) | Self::Span(_) | Self::Moment => None,
        }
    }

    const fn longest(self) -> Option<usize> {
        match self {
            Self::Text(longest) | Self::Texts(_, longest) => Some(longest),
            _ => None,
        }
    }
}

/// What an answer may take: whoever asked for a long list is to get it, even with an entry that is over its bounds.
const ANSWER: Room = Room { messages: usize::MAX, memory: 256 << 20 };
/// With its Hello an agent presents up to 2 MiB of reports.
const NEWS: Room = Room { messages: 10 * limits::SUB_MESSAGES, memory: limits::DECODED_BYTES };
const MESSAGE: Room = Room { messages: limits::SUB_MESSAGES, memory: limits::DECODED_BYTES };

/// Whether a message may be decoded. Costs no memory.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::ProtocolViolation`] for what is no such message; of requests also what [`check`] says.
pub fn scan<M: Name>(bytes: &[u8]) -> Result<(), Problem> {
    let name = M::full_name();
    // Messages of other packages come from nobody but ourselves.
    let Some(at) = schema::message(&name) else { return Ok(()) };
    let is_request = schema::MESSAGES[at].is_request;
    if is_request && bytes.len() > limits::REQUEST_BYTES {
        let what = format!("a request of {} bytes is over {}", bytes.len(), limits::REQUEST_BYTES);
        return Err(Problem::new(Code::TooLarge, what).hint("send long lists in parts"));
    }
    let room = match M::NAME {
        "AgentMessage" => NEWS,
        "ServerMessage" => MESSAGE,
        _ if is_request => MESSAGE,
        _ => ANSWER,
    };
    Scan::new(room, is_request).message(at, bytes).map_err(|wrong| wrong.problem(M::NAME))
}

/// Holds every field of a message to its bounds.
///
/// # Errors
/// [`Code::InvalidArgument`] or [`Code::DurationTooLong`] with the field's path, [`Code::TooLarge`].
pub fn check<M: Message + Name>(message: &M) -> Result<(), Problem> {
    let Some(at) = schema::message(&M::full_name()) else { return Ok(()) };
    Scan::new(NEWS, true).message(at, &message.encode_to_vec()).map_err(|wrong| wrong.problem(M::NAME))
}

/// As much of somebody's text as a log line can bear.
pub fn brief(text: &str) -> &str {
    const MOST: usize = 200;
    text.char_indices().nth(MOST).map_or(text, |(end, _)| &text[..end])
}
