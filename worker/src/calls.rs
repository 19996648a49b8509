//! Calls that the application makes through its worker's stream: faults on other targets.

use std::collections::HashMap;

use chaos_kitty::{
    Code, Problem,
    v1::{ActionStatus, Invoke, Invoked, UnleashRequest, invoked::Kind},
};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// Updates that may wait for a caller who does not read them.
const UPDATES: usize = 256;

/// Where a call's updates go.
pub(crate) type Reply = mpsc::Sender<Update>;

/// News of one call. The last one is not `Status`, unless the caller fell behind.
#[derive(Debug)]
pub(crate) enum Update {
    Status(Box<ActionStatus>),
    Broken(Problem),
    End,
}

/// The two ends of a call: where its updates go, and what its caller reads.
pub(crate) fn channel() -> (Reply, impl Stream<Item = Result<ActionStatus, Problem>> + Send + 'static) {
    let (reply, updates) = mpsc::channel(UPDATES);
    let read = stream::unfold(Some(updates), async |updates| {
        let mut updates = updates?;
        match updates.recv().await {
            Some(Update::Status(status)) => Some((Ok(*status), Some(updates))),
            Some(Update::Broken(problem)) => Some((Err(problem), None)),
            Some(Update::End) => None,
            None => Some((Err(fell_behind()), None)),
        }
    });
    (reply, read)
}

/// Calls under way on the present stream.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    open: HashMap<u64, Reply>,
}

impl Calls {
    /// Opens a call.
    pub(crate) fn open(&mut self, request: UnleashRequest, reply: Reply) -> Invoke {
        self.last += 1;
        self.open.insert(self.last, reply);
        Invoke { call: self.last, request: Some(request) }
    }

    /// Passes an update on. A caller that has gone, or that does not read, is forgotten.
    pub(crate) fn invoked(&mut self, invoked: Invoked) {
        let call = invoked.call;
        let Some(reply) = self.open.get(&call) else { return };
        let (update, last) = match invoked.kind {
            Some(Kind::Update(status)) => (Update::Status(Box::new(status)), false),
            Some(Kind::Problem(problem)) => (Update::Broken(problem.into()), true),
            Some(Kind::End(_)) | None => (Update::End, true),
        };
        if reply.try_send(update).is_err() || last {
            self.open.remove(&call);
        }
    }

    /// The stream is gone: nobody hears the rest.
    pub(crate) fn lost(&mut self) {
        for (_, reply) in self.open.drain() {
            let _ = reply.try_send(Update::Broken(lost()));
        }
    }
}

fn fell_behind() -> Problem {
    Problem::new(Code::FellBehind, format!("more than {UPDATES} updates were not read, the rest is lost"))
        .hint("see kittyctl action list")
}

/// The answer to a call that the stream can not carry.
pub(crate) fn lost() -> Problem {
    Problem::new(Code::ConnectionLost, "the worker is not attached to a server, the outcome is not known")
        .hint("see kittyctl action list once it is back")
}
