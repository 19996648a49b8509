//! Calls that the application makes through its worker's stream: faults on other targets.

use std::collections::HashMap;

use chaos_kitty::{
    Code, Problem,
    v1::{ActionStatus, Invoke, Invoked, UnleashRequest, invoked::Kind},
};
use tokio::sync::mpsc;

/// Updates that may wait for a caller who does not read them.
pub(crate) const UPDATES: usize = 256;

/// Where a call's updates go.
pub(crate) type Reply = mpsc::Sender<Result<ActionStatus, Problem>>;

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
        let over = match invoked.kind {
            Some(Kind::Update(update)) => reply.try_send(Ok(update)).is_err(),
            Some(Kind::Problem(problem)) => {
                let _ = reply.try_send(Err(problem.into()));
                true
            }
            Some(Kind::End(_)) | None => true,
        };
        if over {
            self.open.remove(&call);
        }
    }

    /// The stream is gone: nobody hears the rest.
    pub(crate) fn lost(&mut self) {
        for (_, reply) in self.open.drain() {
            let _ = reply.try_send(Err(lost()));
        }
    }
}

/// The answer to a call that the stream can not carry.
pub(crate) fn lost() -> Problem {
    Problem::new(Code::ConnectionLost, "the worker is not attached to a server, the outcome is not known")
        .hint("see kittyctl action list once it is back")
}
