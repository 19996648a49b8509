//! The way round: a client of the control plane.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code, Problem,
    backoff::Backoff,
    client::{self, TlsFiles},
    endpoint::Endpoint,
    v1::{ActionStatus, GetStatusRequest, Status, UnleashRequest},
};
use futures_util::{Stream, StreamExt, future::ready};

/// A client of the control plane.
#[derive(Clone, Debug)]
pub struct Client(client::Client);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`Code::NotReachable`], [`Code::Tls`], or [`Code::Usage`] for TLS files that can not be used.
    pub async fn dial(endpoint: &Endpoint, tls: &TlsFiles) -> Result<Self, Problem> {
        client::dial(endpoint, tls).await.map(Self)
    }

    /// Connects, and tries again with growing waits for as long as nothing answers, up to `patience`.
    ///
    /// # Errors
    /// As [`Self::dial`]; what trying again can not mend is answered at once.
    pub async fn dial_within(
        endpoint: &Endpoint,
        tls: &TlsFiles,
        patience: Duration,
    ) -> Result<Self, Problem> {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match Self::dial(endpoint, tls).await {
                Err(problem) if problem.code == Code::NotReachable && started.elapsed() < patience => {
                    tokio::time::sleep(backoff.next(&mut rand::rng())).await;
                }
                other => return other,
            }
        }
    }

    /// What the control plane is and does at this moment.
    ///
    /// # Errors
    /// What the server answers; [`Code::ConnectionLost`] when it does not.
    pub async fn status(&mut self) -> Result<Status, Problem> {
        Ok(self.0.get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// Applies an action to one target, or to some of a group. Dropping the updates ends no fault.
    ///
    /// # Errors
    /// What the server refuses it for; [`Code::ConnectionLost`] when it does not answer.
    pub async fn unleash(&mut self, request: UnleashRequest) -> Result<Updates, Problem> {
        let updates = self.0.unleash(request).await?.into_inner();
        let mut last = None;
        // The server says the last one again where there is no news.
        let is_news = move |update: &Result<ActionStatus, Problem>| {
            let Ok(status) = update else { return ready(true) };
            let is_news = last.as_ref() != Some(status);
            last = Some(status.clone());
            ready(is_news)
        };
        Ok(Updates::new(updates.map(|update| update.map_err(Problem::of_stream)).filter(is_news)))
    }
}

/// Each action's status as it changes, until all actions of a call are over or wait for a person (STUCK). A call that breaks off ends
/// with an error, never silently.
pub struct Updates(Pin<Box<dyn Stream<Item = Result<ActionStatus, Problem>> + Send>>);

impl Updates {
    pub(crate) fn new(updates: impl Stream<Item = Result<ActionStatus, Problem>> + Send + 'static) -> Self {
        Self(Box::pin(updates))
    }

    /// The next update. `None`: all actions are over.
    pub async fn next(&mut self) -> Option<Result<ActionStatus, Problem>> {
        self.0.next().await
    }
}

impl Stream for Updates {
    type Item = Result<ActionStatus, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Updates")
    }
}
