//! The connection to the server, and how long to wait for it.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    client::{Client, TlsFiles, dial, dial_usual},
    endpoint::Endpoint,
};
use tokio::time::timeout;
use tonic::{Response, Status};

use crate::args::Global;

/// Longest wait for an answer that the server has at hand.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the server.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The service.
    pub(crate) client: Client,
    endpoint: Endpoint,
    timeout: Option<Duration>,
}

impl Session {
    /// Finds the server and connects.
    ///
    /// # Errors
    /// The address or the TLS files can not be used, or nothing answers.
    pub(crate) async fn open(global: &Global) -> Result<Self, Problem> {
        let tls = TlsFiles {
            ca: global.tls_ca.clone(),
            cert: global.tls_cert.clone(),
            key: global.tls_key.clone(),
            name: global.tls_name.clone(),
        };
        let patience = global.timeout.unwrap_or(PATIENCE);
        let silent = |place: &str| {
            Problem::new(Code::NotReachable, format!("connecting to {place}: no answer within {patience:?}"))
        };
        let (endpoint, client) = match Endpoint::named(global.server.as_deref())? {
            Some(endpoint) => {
                let dialled = timeout(patience, dial(&endpoint, &tls)).await;
                let client = dialled.unwrap_or_else(|_| Err(silent(&endpoint.to_string())))?;
                (endpoint, client)
            }
            None => {
                let dialled = timeout(patience, dial_usual(&tls)).await;
                dialled.unwrap_or_else(|_| Err(silent("the places where a server usually is")))?
            }
        };
        Ok(Self { client, endpoint, timeout: global.timeout })
    }

    /// Waits for an answer, `--timeout` or 30 s at the most.
    ///
    /// # Errors
    /// The server's refusal, or none of its words in time.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Problem> {
        let patience = self.patience(PATIENCE);
        match timeout(patience, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(self.silent(patience)),
        }
    }

    /// `--timeout`, or this where it was not given.
    pub(crate) fn patience(&self, usual: Duration) -> Duration {
        self.timeout.unwrap_or(usual)
    }

    /// `--timeout`, if it was given.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The server did not answer within this time.
    pub(crate) fn silent(&self, patience: Duration) -> Problem {
        Problem::new(Code::NoAnswer, format!("waiting for {}: no answer within {patience:?}", self.endpoint))
            .hint("see what it does with `kittyctl status`, or wait longer with --timeout")
    }
}
