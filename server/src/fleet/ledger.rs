//! The way up: what nodes say of actions goes to whoever keeps the book of them. The fleet knows nothing of
//! that layer but this port, which it is given at the start.

use std::sync::Arc;

use chaos_kitty::v1::{ActionReport, Invoke};
use tokio::time::Instant;

use super::node::Node;

/// The book of actions, as the fleet sees it. Called with no lock of the fleet held, in the order in which a
/// stream brought the news; must not wait.
pub trait Ledger: Send + Sync + 'static {
    /// A node is there, and brings these reports: of what it holds and of what ended unreported.
    fn attached(&self, node: &Arc<Node>, held: Vec<ActionReport>) -> Standing;

    /// News of a node's actions. Whoever takes them in lets [`super::Fleet::taken`] say so.
    fn reported(&self, node: &Arc<Node>, reports: Vec<ActionReport>);

    /// A node is away.
    fn left(&self, node: &Arc<Node>, how: Left);

    /// A node asks for an action, by its stream.
    fn invoked(&self, node: &Arc<Node>, invoke: Invoke);

    /// Everything is to be reverted and nothing is admitted.
    fn latched(&self) -> bool;
}

/// How a node stands with the book, for its Welcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of the actions it holds, those that go on.
    pub known: Vec<String>,
    /// Of the reports that it brought, those up to this number need not be kept.
    pub taken: u64,
}

/// How a node went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Its process has ended, and with it everything that was in force inside it.
    Ended,
    /// Nothing is heard of it. What it holds ends by then at the latest.
    Lost {
        /// When its lease is over.
        over_by: Instant,
    },
}
