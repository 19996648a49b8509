//! One receiver: each notification is signed and posted, and posted again while that may help.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chaos_kitty::{Code, Problem, backoff::Backoff, client::chain, v1::event::level::Name as Level};
use http::{Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

use super::{
    Waiting,
    message::{Format, Notification},
    tls,
};
use crate::task;

/// Where notifications go.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: Uri,
    /// What it understands.
    pub format: Format,
    /// What it is told of.
    pub levels: Vec<Level>,
    /// The key of the signature. Empty: unsigned.
    pub secret: String,
    /// Whose certificates are trusted; the system's where there is none.
    pub tls_ca: Option<PathBuf>,
    /// How long it is tried.
    pub patience: Patience,
}

/// How often and how long a delivery is tried.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Attempts for one notification.
    pub attempts: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The waits in between.
    pub backoff: Backoff,
}

impl Default for Patience {
    /// Some three minutes in all.
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        Self { attempts: 8, timeout: Duration::from_secs(10), backoff }
    }
}

/// A webhook at work.
pub(super) struct Hook {
    webhook: Webhook,
    key: Option<hmac::Key>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    lost: Arc<AtomicU64>,
}

/// Why an attempt failed.
struct Failure {
    why: String,
    /// Another attempt may do better.
    may_pass: bool,
}

impl Hook {
    pub(super) fn new(webhook: Webhook, lost: Arc<AtomicU64>) -> Result<Self, Problem> {
        let config = match webhook.url.scheme_str() {
            Some("https") => tls::config(webhook.tls_ca.as_deref())?,
            Some("http") => tls::none()?,
            _ => {
                let what = format!("the webhook {} is no http:// or https:// address", webhook.url);
                return Err(Problem::new(Code::Usage, what));
            }
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let key = (!webhook.secret.is_empty())
            .then(|| hmac::Key::new(hmac::HMAC_SHA256, webhook.secret.as_bytes()));
        Ok(Self { webhook, key, client, lost })
    }

    /// Delivers what comes, one after the other, until nothing can come any more.
    pub(super) async fn deliver(self, mut inbox: mpsc::Receiver<Waiting>) {
        while let Some(waiting) = inbox.recv().await {
            if let Err(why) = task::caught(self.send(&waiting.notification)).await.and_then(|sent| sent) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                let host = self.webhook.url.host().unwrap_or_default();
                tracing::warn!(host, why, "a notification was not delivered to a webhook");
            }
        }
    }

    async fn send(&self, notification: &Notification) -> Result<(), String> {
        let body = Bytes::from(notification.body(self.webhook.format).to_string());
        // The same for all attempts, so that a receiver knows what it has seen already.
        let delivery = Uuid::now_v7().to_string();
        let Patience { attempts, timeout: limit, mut backoff } = self.webhook.patience.clone();
        let mut attempt = 1;
        loop {
            let answered = timeout(limit, self.post(&delivery, body.clone())).await;
            let late = || Failure { why: format!("no answer within {limit:?}"), may_pass: true };
            match answered.unwrap_or_else(|_| Err(late())) {
                Ok(()) => return Ok(()),
                Err(failure) if !failure.may_pass || attempt >= attempts => return Err(failure.why),
                Err(failure) => tracing::debug!(attempt, why = failure.why, "a webhook is tried again"),
            }
            attempt += 1;
            let wait = backoff.next(&mut rand::rng());
            tokio::time::sleep(wait).await;
        }
    }

    async fn post(&self, delivery: &str, body: Bytes) -> Result<(), Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.webhook.url)
            .header(CONTENT_TYPE, "application/json")
            .header("Kitty-Delivery", delivery);
        if let Some(key) = &self.key {
            request = request.header("Kitty-Signature", signature(key, now(), &body));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Failure { why: error.to_string(), may_pass: false })?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Failure { why: chain(&error), may_pass: true })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let may_pass = status.is_server_error()
            || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        Err(Failure { why: format!("it answers {status}"), may_pass })
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that what was overheard can not be sent again later.
pub(super) fn signature(key: &hmac::Key, seconds: u64, body: &[u8]) -> String {
    let signed = [seconds.to_string().as_bytes(), b".", body].concat();
    let tag = hmac::sign(key, &signed);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}
