//! The nodes behind this one: workers and agents on the local socket, and whatever is behind those.
//!
//! The relay works by address (`docs/decisions/0001-stream-and-lease.md`): [`table`] knows the way to each
//! node, this module has the streams, [`local`] accepts them. All queues are bounded. A neighbour that does
//! not read is cut off; one that writes too fast waits; the stream to the server suffers neither.

mod link;
mod local;
mod places;
mod queue;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chaos_kitty::{
    Code, Problem, bounds,
    peer::Watched,
    v1::{AgentMessage, Hello, ServerMessage, agent_message},
};
use tokio::sync::watch;

use self::{
    link::{Handle, Received},
    queue::{Sender, queue},
    table::{Effect, Link, Table},
};
pub(crate) use self::{
    local::{listen, serve},
    queue::Receiver,
};

/// Messages of all neighbours that wait for the stream to the server.
const UP: usize = 256;

/// See the module.
pub(crate) struct Relay {
    inner: Mutex<Inner>,
    /// Whether there is a server to relay to.
    ready: watch::Sender<bool>,
}

struct Inner {
    table: Table,
    links: HashMap<Link, Handle>,
    /// The way up; none while the server is away.
    up: Option<Sender<AgentMessage>>,
    last: Link,
    own: String,
}

/// What a neighbour's message leads to on the way up, and the way.
type Upward = (Vec<AgentMessage>, Sender<AgentMessage>);

impl Relay {
    /// For the agent of that id.
    pub(crate) fn new(own: &str) -> Self {
        let inner = Inner {
            table: Table::new(own.to_owned()),
            links: HashMap::new(),
            up: None,
            last: 0,
            own: own.to_owned(),
        };
        Self { inner: Mutex::new(inner), ready: watch::Sender::new(false) }
    }

    /// The server has welcomed this agent: neighbours may attach. What they say comes out of the receiver.
    pub(crate) fn opened(&self) -> Receiver<AgentMessage> {
        let (up, out) = queue(UP);
        self.inner().up = Some(up);
        self.ready.send_replace(true);
        out
    }

    /// The stream to the server is lost: the neighbours' Hellos must be sent again, so their streams end.
    /// What they hold, their own leases hold.
    pub(crate) fn closed(&self) {
        self.ready.send_replace(false);
        let mut inner = self.inner();
        inner.up = None;
        inner.table = Table::new(inner.own.clone());
        for (_, link) in std::mem::take(&mut inner.links) {
            link.cut(away());
        }
    }

    /// A message of the server for a node behind this one.
    pub(crate) fn down(&self, message: ServerMessage) {
        let mut inner = self.inner();
        for effect in inner.table.downward(message) {
            inner.apply(effect);
        }
    }

    /// A neighbour's stream is accepted: from now on the server can reach it.
    fn attach(&self, hello: Hello, peer: Option<Arc<Watched>>) -> Result<(Link, Received, Upward), Problem> {
        let mut inner = self.inner();
        let up = inner.up.clone().ok_or_else(away)?;
        inner.last += 1;
        let link = inner.last;
        let older_ended = inner.peer_ended(&hello.agent_id);
        let effects = inner.table.attach(link, hello, older_ended)?;
        let (handle, received) = Handle::new(peer);
        inner.links.insert(link, handle);
        let messages = effects.into_iter().filter_map(|effect| inner.apply(effect)).collect();
        Ok((link, received, (messages, up)))
    }

    /// A message of a neighbour. An error ends its stream.
    fn up(&self, link: Link, mut message: AgentMessage) -> Result<Upward, Problem> {
        let checked = within_bounds(&mut message);
        let mut inner = self.inner();
        let up = inner.up.clone().ok_or_else(away)?;
        if let Err(problem) = checked {
            if message.node.is_empty() {
                return Err(problem);
            }
            // The nodes behind a neighbour are not to suffer for one of them.
            tracing::warn!(node = bounds::brief(&message.node), %problem, "a message is not passed on");
            return Ok((Vec::new(), up));
        }
        let effects = inner.table.upward(link, message)?;
        Ok((effects.into_iter().filter_map(|effect| inner.apply(effect)).collect(), up))
    }

    /// A neighbour's stream is over.
    fn detach(&self, link: Link, process_ended: bool) -> Option<Upward> {
        let mut inner = self.inner();
        inner.links.remove(&link);
        let effects = inner.table.detach(link, process_ended);
        let messages = effects.into_iter().filter_map(|effect| inner.apply(effect)).collect();
        inner.up.clone().map(|up| (messages, up))
    }

    /// Ends a neighbour's stream.
    fn cut(&self, link: Link, problem: Problem) {
        self.inner().apply(Effect::Cut(link, problem));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Does what can be done at once, and answers with what is to be sent to the server.
    fn apply(&mut self, effect: Effect) -> Option<AgentMessage> {
        match effect {
            Effect::Up(message) => return Some(message),
            Effect::Down(link, message) => {
                if self.links.get(&link).is_some_and(|handle| !handle.send(message)) {
                    let problem = Problem::new(Code::FellBehind, "messages were not read for too long")
                        .hint("read the stream without waiting for anything else");
                    self.apply(Effect::Cut(link, problem));
                }
            }
            Effect::Cut(link, problem) => {
                if let Some(handle) = self.links.remove(&link) {
                    handle.cut(problem);
                }
            }
        }
        None
    }

    /// A node may come back before the end of its earlier process was noticed here.
    fn peer_ended(&self, node: &str) -> bool {
        let older = self.table.link_of(node).and_then(|link| self.links.get(&link));
        older.is_some_and(Handle::peer_ended)
    }
}

/// Leaves out of a neighbour's message what is over its bounds. A Hello as a whole is looked at by who answers it.
fn within_bounds(message: &mut AgentMessage) -> Result<(), Problem> {
    let left_out = bounds::sift(message);
    if let Some(first) = left_out.first {
        tracing::warn!(node = bounds::brief(&message.node), count = left_out.count, %first, "entries are left out");
    }
    if matches!(message.kind, Some(agent_message::Kind::Hello(_))) { Ok(()) } else { bounds::check(message) }
}

/// No stream to the server at this moment.
fn away() -> Problem {
    Problem::new(Code::ConnectionLost, "the relay has no connection to the server at the moment")
        .hint("attach again; the relay reconnects by itself")
}
