//! What a direct stream carries: its peer, and the nodes that its peer relays for. Handles each message that
//! comes in, and detaches all of them when the stream ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use chaos_kitty::{
    Code, Problem, bounds, hello,
    v1::{
        AgentMessage, Goodbye, Hello, ServerMessage, agent_message::Kind, agent_role::Name as Role,
        server_message,
    },
};

use super::{
    Fleet,
    attach::{Attached, Newcomer},
    departure::Departure,
    identity::{broken, identify},
    mailbox::Mailbox,
    node::Node,
};
use crate::listen::{PeerInfo, WatchedPeer};
use crate::task::{self, OnPanic, lock};

/// Nodes behind one stream.
const CARRIED: usize = 20_000;

/// See the module.
pub(super) struct Session {
    fleet: Arc<Fleet>,
    peer: PeerInfo,
    mailbox: Arc<Mailbox>,
    /// The peer's own id, once its Hello has come.
    own: Option<String>,
    nodes: HashMap<String, Arc<Node>>,
    /// Nodes that won their id from another since the last look.
    settled: Arc<Mutex<Vec<Arc<Node>>>>,
    left: bool,
}

impl Session {
    pub(super) fn new(fleet: Arc<Fleet>, peer: PeerInfo) -> Self {
        Self {
            fleet,
            peer,
            mailbox: Arc::default(),
            own: None,
            nodes: HashMap::new(),
            settled: Arc::default(),
            left: false,
        }
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// The Hello has come.
    pub(super) const fn is_attached(&self) -> bool {
        self.own.is_some()
    }

    /// Nodes on this stream.
    pub(super) fn carried(&self) -> usize {
        self.nodes.len()
    }

    /// Nothing more is taken in.
    pub(super) fn is_over(&mut self) -> bool {
        let over = self.left || self.mailbox.is_closed();
        if over {
            self.leave();
        }
        over
    }

    /// Ends the stream with this status.
    pub(super) fn end(&mut self, why: Problem) {
        if why.code != Code::ConnectionLost {
            self.fleet.losses.add("streams_refused", 1);
            tracing::warn!(node = self.own.as_deref().unwrap_or_default(), problem = %why, "an agent stream is ended");
        }
        self.mailbox.close(why);
        self.leave();
    }

    /// The stream is over: so is the attachment of all it carried.
    pub(super) fn leave(&mut self) {
        if self.left {
            return;
        }
        self.left = true;
        self.mailbox.close(Problem::new(Code::ConnectionLost, "the stream is over"));
        self.take_settled();
        for node in std::mem::take(&mut self.nodes).into_values() {
            self.fleet.detach(&node, Departure::ConnectionLost);
        }
    }

    fn take_settled(&mut self) {
        let settled = std::mem::take(&mut *lock(&self.settled));
        self.nodes.extend(settled.into_iter().map(|node| (node.id().to_owned(), node)));
    }

    /// Handles a message.
    ///
    /// # Errors
    /// The status that the whole stream is to end with.
    pub(super) fn take(&mut self, mut message: AgentMessage) -> Result<(), Problem> {
        self.take_settled();
        if !self.within_bounds(&mut message) {
            return Ok(());
        }
        let AgentMessage { node: address, kind } = message;
        let Some(own) = self.own.clone() else {
            let Some(Kind::Hello(hello)) = kind else {
                return Err(broken("the first message of a stream is a Hello"));
            };
            if !address.is_empty() {
                return Err(broken("the first Hello of a stream is that of its peer, and has no address"));
            }
            return self.hello(hello, &address, None);
        };
        match (kind, address.is_empty()) {
            (Some(Kind::Hello(_)), true) => Err(broken("there was a Hello on this stream already")),
            (Some(Kind::Hello(hello)), false) => {
                let agent = self.nodes.get(&own).is_some_and(|node| !node.is_worker());
                if !agent {
                    return Err(broken("only agents relay"));
                }
                if let Err(problem) = self.hello(hello, &address, Some(&own)) {
                    self.refuse(&address, problem);
                }
                Ok(())
            }
            (Some(kind), own_message) => {
                let id = if own_message { &own } else { &address };
                match self.nodes.get(id).cloned() {
                    // A node that was refused, or left, may have had messages under way.
                    Some(node) if node.live().attached => self.news(&node, kind),
                    _ => {
                        self.fleet.losses.add("messages_of_unknown_nodes", 1);
                        Ok(())
                    }
                }
            }
            (None, _) => {
                self.fleet.losses.add("messages_not_understood", 1);
                Ok(())
            }
        }
    }

    /// Leaves out of a message what is over its bounds. False: all of it is. A relay carries the messages of others, so
    /// its stream goes on. A Hello as a whole is looked at by who answers it.
    fn within_bounds(&self, message: &mut AgentMessage) -> bool {
        let left_out = bounds::sift(message);
        let node =
            if message.node.is_empty() { self.own.as_deref().unwrap_or_default() } else { &message.node };
        if let Some(first) = &left_out.first {
            tracing::warn!(node = bounds::brief(node), count = left_out.count, %first, "entries are left out");
            self.fleet.losses.add("entries_refused", left_out.count);
        }
        match bounds::check(message) {
            Err(problem) if !matches!(message.kind, Some(Kind::Hello(_))) => {
                tracing::warn!(node = bounds::brief(node), %problem, "a message is refused");
                self.fleet.losses.add("messages_refused", 1);
                false
            }
            _ => true,
        }
    }

    fn hello(&mut self, hello: Hello, address: &str, relay: Option<&str>) -> Result<(), Problem> {
        if self.nodes.len() >= CARRIED {
            return Err(Problem::new(Code::LimitReached, format!("{CARRIED} nodes are on this stream")));
        }
        let hello = identify(hello, address, relay, &self.peer)?;
        let id = hello.agent_id.clone();
        let process = if relay.is_none() { self.process_of(&hello) } else { None };
        let newcomer = Newcomer { hello, process, mailbox: self.mailbox.clone() };
        match self.fleet.attach(newcomer)? {
            Attached::Now(node) => {
                self.nodes.insert(id.clone(), node);
            }
            Attached::Contested(contest) => {
                let (fleet, settled) = (self.fleet.clone(), Arc::downgrade(&self.settled));
                task::spawn(OnPanic::End, fleet.settle_contest(*contest, settled));
            }
        }
        if relay.is_none() {
            self.own = Some(id);
        }
        Ok(())
    }

    /// The peer's process, if it is a worker: its target ends with it. Agents' targets do not, and a fleet of them
    /// is to cost one descriptor each.
    fn process_of(&self, hello: &Hello) -> Option<WatchedPeer> {
        if hello.role() != Role::Worker {
            return None;
        }
        self.peer.watch().unwrap_or_else(|error| {
            tracing::warn!(node = hello.agent_id, %error, "the end of a worker's process will not be seen");
            self.fleet.losses.add("workers_not_watched", 1);
            None
        })
    }

    fn refuse(&self, address: &str, problem: Problem) {
        tracing::warn!(node = bounds::brief(address), %problem, "a relayed node is refused");
        self.fleet.losses.add("nodes_refused", 1);
        self.mailbox.push(refusal(address, problem));
    }

    fn news(&mut self, node: &Arc<Node>, kind: Kind) -> Result<(), Problem> {
        match kind {
            Kind::Targets(changed) => self.fleet.targets_changed(node, changed),
            Kind::Reports(news) => self.fleet.reported(node, news.reports),
            Kind::Renewal(answer) => {
                if !self.fleet.answered(node, answer.number) {
                    return Err(broken("a renewal was answered that had not been sent"));
                }
            }
            Kind::Goodbye(goodbye) => self.goodbye(node, &goodbye),
            Kind::Invoke(invoke) => self.fleet.invoke(node, invoke),
            Kind::Pong(pong) => node.pong(pong.number),
            Kind::Step(result) => self.fleet.stepped(node, result),
            Kind::Hello(_) => {}
        }
        Ok(())
    }

    fn goodbye(&mut self, node: &Arc<Node>, goodbye: &Goodbye) {
        self.nodes.remove(node.id());
        let how = if goodbye.process_ended { Departure::ProcessEnded } else { Departure::Goodbye };
        self.fleet.detach(node, how);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave();
        // A contest may have been settled after the stream was over.
        self.left = false;
        self.leave();
    }
}

/// Tells a relayed node that it is not attached.
pub(super) fn refusal(address: &str, problem: Problem) -> ServerMessage {
    let kind = server_message::Kind::Refusal(hello::refusal(problem));
    ServerMessage { node: address.to_owned(), kind: Some(kind) }
}
