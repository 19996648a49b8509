//! Messages of peers that wait for somebody to read them: bounded in number and in bytes.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Bytes on the wire of what may wait in one queue; a single message may have more.
const BYTES: u32 = 8 << 20;

/// The end where messages go in.
#[derive(Clone)]
pub(super) struct Sender<M> {
    messages: mpsc::Sender<(M, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The end where they come out.
pub(crate) struct Receiver<M>(mpsc::Receiver<(M, OwnedSemaphorePermit)>);

/// A queue for so many messages.
pub(super) fn queue<M>(count: usize) -> (Sender<M>, Receiver<M>) {
    let (messages, waiting) = mpsc::channel(count);
    (Sender { messages, room: Arc::new(Semaphore::new(BYTES as usize)) }, Receiver(waiting))
}

impl<M: Message> Sender<M> {
    /// Waits for room. False: nobody reads any more.
    pub(super) async fn send(&self, message: M) -> bool {
        match self.room.clone().acquire_many_owned(size(&message)).await {
            Ok(room) => self.messages.send((message, room)).await.is_ok(),
            Err(_) => false,
        }
    }

    /// False: there is no room. One that nobody reads any more has room for everything.
    pub(super) fn try_send(&self, message: M) -> bool {
        let Ok(room) = self.room.clone().try_acquire_many_owned(size(&message)) else { return false };
        !matches!(self.messages.try_send((message, room)), Err(mpsc::error::TrySendError::Full(_)))
    }
}

fn size(message: &impl Message) -> u32 {
    u32::try_from(message.encoded_len()).unwrap_or(BYTES).min(BYTES)
}

impl<M> Receiver<M> {
    /// The next message; `None` once nothing can come any more.
    pub(crate) async fn recv(&mut self) -> Option<M> {
        self.0.recv().await.map(|(message, _)| message)
    }

    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<M>> {
        self.0.poll_recv(context).map(|next| next.map(|(message, _)| message))
    }

    /// The next message, if it is there.
    #[cfg(test)]
    pub(crate) fn try_recv(&mut self) -> Option<M> {
        self.0.try_recv().ok().map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::Goodbye;

    use super::*;

    #[tokio::test]
    async fn large_messages_fill_a_queue_long_before_there_are_many() {
        let (sender, mut receiver) = queue(256);
        let large = || Goodbye { reason: "x".repeat(1 << 20), ..Goodbye::default() };
        assert!((0..7).all(|_| sender.try_send(large())));
        assert!(!sender.try_send(large()));
        receiver.recv().await.unwrap();
        assert!(sender.send(large()).await, "what is read makes room");
        let (small, _kept) = queue(2);
        assert!(small.try_send(Goodbye::default()) && small.try_send(Goodbye::default()));
        assert!(!small.try_send(Goodbye::default()));
    }
}
