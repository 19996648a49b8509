//! The way up: two bounded queues. Answers to the server have their own, which goes first, so that nothing
//! bulky ever delays a renewal.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use chaos_kitty::{
    Code, Problem,
    v1::{AgentMessage, agent_message::Kind},
};
use futures_util::Stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Answers that wait for the server to read.
const ANSWERS: usize = 64;
/// Other messages that wait for it; each may be as large as messages are.
const BULK: usize = 8;

/// The near end of a stream to the server.
pub(super) struct Outbound {
    answers: Sender<AgentMessage>,
    bulk: Sender<AgentMessage>,
}

/// The half that goes to the transport.
pub(super) struct Outgoing {
    answers: Receiver<AgentMessage>,
    bulk: Receiver<AgentMessage>,
}

impl Outbound {
    /// Both ends.
    pub(super) fn new() -> (Self, Outgoing) {
        let (answers, answers_out) = channel(ANSWERS);
        let (bulk, bulk_out) = channel(BULK);
        (Self { answers, bulk }, Outgoing { answers: answers_out, bulk: bulk_out })
    }

    /// An answer that can not wait.
    ///
    /// # Errors
    /// [`Code::ConnectionLost`]: the server reads nothing, or the stream is over.
    pub(super) fn answer(&self, kind: Kind) -> Result<(), Problem> {
        self.answers.try_send(own(kind)).map_err(|_| stalled())
    }

    /// Waits until there is room for something that can wait.
    ///
    /// # Errors
    /// [`Code::ConnectionLost`]: the stream is over.
    pub(super) async fn room(&self) -> Result<(), Problem> {
        self.bulk.reserve().await.map(drop).map_err(|_| stalled())
    }

    /// Something that can wait, once there is [`Self::room`].
    ///
    /// # Errors
    /// [`Code::ConnectionLost`]: there is none, or the stream is over.
    pub(super) fn send(&self, message: AgentMessage) -> Result<(), Problem> {
        self.bulk.try_send(message).map_err(|_| stalled())
    }
}

impl Stream for Outgoing {
    type Item = AgentMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<AgentMessage>> {
        let answers = self.answers.poll_recv(context);
        if matches!(answers, Poll::Ready(Some(_))) {
            return answers;
        }
        match self.bulk.poll_recv(context) {
            Poll::Ready(None) => answers,
            bulk => bulk,
        }
    }
}

/// A message of this node itself.
pub(super) fn own(kind: Kind) -> AgentMessage {
    AgentMessage { node: String::new(), kind: Some(kind) }
}

/// The server does not take in what is sent.
pub(super) fn stalled() -> Problem {
    Problem::new(Code::ConnectionLost, "the server does not read the stream")
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::Pong;
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn pong(number: u64) -> Kind {
        Kind::Pong(Pong { number })
    }

    #[tokio::test]
    async fn both_queues_are_bounded_and_answers_go_first_to_the_last_message() {
        let (out, outgoing) = Outbound::new();
        let mut bulky = 0;
        while let Some(Ok(())) = out.room().now_or_never() {
            out.send(own(pong(1))).unwrap();
            bulky += 1;
        }
        assert_eq!(bulky, BULK);
        assert!((0..ANSWERS).all(|_| out.answer(pong(0)).is_ok()));
        assert_eq!(out.answer(pong(0)).unwrap_err().code, Code::ConnectionLost);
        drop(out);
        let order: Vec<_> = outgoing.collect().await;
        let expected: Vec<_> =
            (0..ANSWERS).map(|_| pong(0)).chain((0..BULK).map(|_| pong(1))).map(own).collect();
        assert_eq!(order, expected);
    }
}
