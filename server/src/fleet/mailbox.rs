//! What waits to be sent on one stream: bounded, and cheap while it is empty.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use crate::task::lock;
use chaos_kitty::{Code, Problem, v1::ServerMessage};
use prost::Message;
use tonic::Status;

/// Messages that may wait, and their bytes. A peer that lets more pile up is cut off.
pub(super) const CAPACITY: usize = 4096;
const BYTES: usize = 16 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Box<ServerMessage>>,
    /// Of those that wait.
    bytes: usize,
    reader: Option<Waker>,
    closed: bool,
    /// The last word, once what waits is sent.
    end: Option<Box<Status>>,
}

impl Mailbox {
    /// Leaves a message for the stream. False when the stream is closed; a stream whose peer does not read
    /// is closed by this.
    pub(super) fn push(&self, message: ServerMessage) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let bytes = state.bytes + message.encoded_len();
        if state.waiting.len() == CAPACITY || bytes > BYTES {
            (state.waiting, state.bytes) = (VecDeque::new(), 0);
            state.finish(fell_behind());
            return false;
        }
        state.bytes = bytes;
        state.waiting.push_back(Box::new(message));
        state.wake();
        true
    }

    /// Ends the stream after what waits. Only the first reason counts.
    pub(super) fn close(&self, why: Problem) {
        let mut state = self.lock();
        if !state.closed {
            state.finish(why);
        }
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The next message, then the status, then nothing.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<ServerMessage, Status>>> {
        let mut state = self.lock();
        if let Some(message) = state.waiting.pop_front() {
            state.bytes = state.bytes.saturating_sub(message.encoded_len());
            if state.waiting.is_empty() {
                state.waiting = VecDeque::new();
            }
            return Poll::Ready(Some(Ok(*message)));
        }
        if state.closed {
            return Poll::Ready(state.end.take().map(|status| Err(*status)));
        }
        if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
            state.reader = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn finish(&mut self, why: Problem) {
        self.closed = true;
        self.end = Some(Box::new(why.into()));
        self.wake();
    }

    fn wake(&self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }
}

fn fell_behind() -> Problem {
    let what = format!("{CAPACITY} messages, or {BYTES} bytes, waited for this stream to be read");
    Problem::new(Code::FellBehind, what).hint("attach again and say Hello")
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{ScriptContent, server_message::Kind};

    use super::*;

    fn next(mailbox: &Mailbox) -> Poll<Option<Result<ServerMessage, Status>>> {
        mailbox.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_waits_is_sent_before_the_last_word_and_nothing_after_it() {
        let mailbox = Mailbox::default();
        assert!(next(&mailbox).is_pending());
        assert!(mailbox.push(ServerMessage::default()));
        mailbox.close(Problem::new(Code::Stopping, "first"));
        mailbox.close(Problem::new(Code::Internal, "second"));
        assert!(!mailbox.push(ServerMessage::default()));
        assert!(matches!(next(&mailbox), Poll::Ready(Some(Ok(_)))));
        let Poll::Ready(Some(Err(status))) = next(&mailbox) else { panic!("no status") };
        assert_eq!(status.message(), "first");
        assert!(matches!(next(&mailbox), Poll::Ready(None)));
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut_off_and_its_backlog_dropped() {
        let mailbox = Mailbox::default();
        assert!((0..CAPACITY).all(|_| mailbox.push(ServerMessage::default())));
        assert!(!mailbox.push(ServerMessage::default()));
        let Poll::Ready(Some(Err(status))) = next(&mailbox) else { panic!("no status") };
        assert_eq!(Problem::from(status).code, Code::FellBehind);
    }

    #[test]
    fn large_messages_cut_off_a_peer_that_does_not_read_long_before_many_do() {
        let mailbox = Mailbox::default();
        let content = ScriptContent { content: vec![0; 1 << 20].into(), ..ScriptContent::default() };
        let large =
            || ServerMessage { kind: Some(Kind::Script(content.clone())), ..ServerMessage::default() };
        for _ in 0..100 {
            assert!(mailbox.push(large()), "what is read makes room");
            assert!(matches!(next(&mailbox), Poll::Ready(Some(Ok(_)))));
        }
        assert!((0..15).all(|_| mailbox.push(large())));
        assert!(!mailbox.push(large()));
        let Poll::Ready(Some(Err(status))) = next(&mailbox) else { panic!("no status") };
        assert_eq!(Problem::from(status).code, Code::FellBehind);
    }
}
