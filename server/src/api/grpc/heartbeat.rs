//! No stream of news is silent for long: a proxy on the way ends what carries nothing.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::time::timeout;
use tonic::Status;

/// The messages, and after each `every` of silence `beat` of the last one; before the first of them of `first`, if
/// there is any.
pub(super) fn beating<T, S, B>(
    messages: S,
    every: Duration,
    first: Option<T>,
    beat: B,
) -> BoxStream<'static, Result<T, Status>>
where
    T: Clone + Send + Sync + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
    B: Fn(&T) -> T + Clone + Send + Sync + 'static,
{
    stream::unfold((messages.boxed(), first), move |(mut messages, mut last)| {
        let beat = beat.clone();
        async move {
            loop {
                match (timeout(every, messages.next()).await, &last) {
                    (Ok(None), _) => return None,
                    (Ok(Some(Err(status))), _) => return Some((Err(status), (messages, last))),
                    (Ok(Some(Ok(message))), _) => {
                        last = Some(message.clone());
                        return Some((Ok(message), (messages, last)));
                    }
                    (Err(_), Some(said)) => return Some((Ok(beat(said)), (messages, last))),
                    (Err(_), None) => {}
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn what_was_said_last_is_said_again_after_each_silence() {
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut beats = beating(messages, EVERY, None, |last: &u32| last * 10);
        sender.send(Ok(1)).await.unwrap();
        assert_eq!(beats.next().await.unwrap().unwrap(), 1);
        assert_eq!(beats.next().await.unwrap().unwrap(), 10);
        assert_eq!(beats.next().await.unwrap().unwrap(), 10, "of what was said, not of a beat");
        sender.send(Ok(2)).await.unwrap();
        assert_eq!(beats.next().await.unwrap().unwrap(), 2);
        sender.send(Err(Status::aborted("over"))).await.unwrap();
        assert!(beats.next().await.unwrap().is_err());
        drop(sender);
        assert!(beats.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn before_anything_was_said_the_first_one_beats() {
        let mut beats = beating(stream::pending::<Result<u32, Status>>(), EVERY, Some(7), |last| *last);
        assert_eq!(beats.next().await.unwrap().unwrap(), 7);
    }
}
