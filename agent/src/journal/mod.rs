//! What is in force on this host, for the case that agent and guard die together: one line for each fault, written
//! before it is injected, and one when it is over. The executor alone uses it; see
//! `docs/decisions/0003-journal.md`.
//!
//! [`record`] is what the lines say (pure), [`folder`] the files, `count` how many lines there must be, [`writer`] the
//! thread that appends, [`replay`] puts back what was left.

mod count;
pub mod folder;
pub mod record;
pub mod replay;
pub mod writer;

pub use record::{Entry, Held};
pub use writer::Journal;
