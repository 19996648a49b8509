//! One Attach stream: a `Stream` that owns both directions, so that an idle node costs neither a task nor a
//! channel. Inbound messages are handled as they are polled, a bounded number at a time.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem, limits,
    v1::{AgentMessage, ServerMessage},
};
use futures_util::Stream;
use tokio::time::{Instant, Sleep};
use tonic::{Status, Streaming};

use super::session::Session;

/// Inbound messages handled before others get their turn.
const BUDGET: usize = 64;

/// Messages that one stream may bring in a second, and how many more for each node that it carries.
const MESSAGES_PER_SECOND: usize = 10_000;
const MORE_PER_NODE: usize = 20;

/// See the module.
pub struct AttachStream {
    inbound: Streaming<AgentMessage>,
    session: Session,
    rate: Rate,
    /// Until the Hello has come.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Messages in the present second.
struct Rate {
    since: Instant,
    messages: usize,
}

impl AttachStream {
    pub(super) fn new(inbound: Streaming<AgentMessage>, session: Session) -> Self {
        Self {
            inbound,
            session,
            rate: Rate { since: Instant::now(), messages: 0 },
            patience: Some(Box::pin(tokio::time::sleep(limits::HELLO_TIMEOUT))),
        }
    }

    /// Takes in what has come. Ready when nothing will come any more.
    fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..BUDGET {
            match Pin::new(&mut self.inbound).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => {
                    if let Err(why) = self.take(message) {
                        self.session.end(why);
                        return Poll::Pending;
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    self.session.end(unreadable(status));
                    return Poll::Pending;
                }
                Poll::Ready(None) => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&mut self, message: AgentMessage) -> Result<(), Problem> {
        let most = MESSAGES_PER_SECOND + MORE_PER_NODE * self.session.carried();
        if self.rate.exceeds(most, Instant::now()) {
            return Err(Problem::new(Code::FellBehind, format!("more than {most} messages within a second"))
                .hint("batch reports, and send no more than happens"));
        }
        let taken = self.session.take(message);
        if self.session.is_attached() {
            self.patience = None;
        }
        taken
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) {
        if let Some(patience) = &mut self.patience
            && patience.as_mut().poll(context).is_ready()
        {
            self.patience = None;
            let waited = limits::HELLO_TIMEOUT.as_secs();
            self.session.end(Problem::new(
                Code::ProtocolViolation,
                format!("no Hello within {waited} s of the stream's start"),
            ));
        }
    }
}

impl Stream for AttachStream {
    type Item = Result<ServerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.poll_patience(context);
        // What comes in is taken first: an answer then leaves with the same poll.
        if !this.session.is_over() && this.poll_inbound(context).is_ready() {
            this.session.leave();
            return Poll::Ready(None);
        }
        this.session.mailbox().poll(context)
    }
}

impl Rate {
    /// Counts one message more.
    fn exceeds(&mut self, most: usize, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self { since: now, messages: 0 };
        }
        self.messages += 1;
        self.messages > most
    }
}

/// What the transport says of a message that can not be read.
fn unreadable(status: Status) -> Problem {
    match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            Problem::new(Code::TooLarge, format!("a message on the stream: {}", status.message())).hint(
                format!("messages have at most {} bytes; send long lists in parts", limits::MESSAGE_BYTES),
            )
        }
        tonic::Code::Internal | tonic::Code::InvalidArgument => {
            Problem::new(Code::ProtocolViolation, format!("a message can not be read: {}", status.message()))
        }
        _ => Problem::new(Code::ConnectionLost, format!("the stream broke: {}", status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_messages_than_allowed_in_a_second_are_seen_and_the_next_second_begins_anew() {
        let now = Instant::now();
        let mut rate = Rate { since: now, messages: 0 };
        assert!((0..5).all(|_| !rate.exceeds(5, now)));
        assert!(rate.exceeds(5, now));
        assert!(!rate.exceeds(5, now + Duration::from_secs(1)));
    }
}
