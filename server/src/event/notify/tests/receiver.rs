//! A webhook's other end: an HTTP server that tells what it got.

use axum::{Router, body::Bytes, extract::State, routing::post};
use http::{HeaderMap, StatusCode};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// A request that came.
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Received {
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(super) struct Receiver {
    pub(super) url: String,
    received: mpsc::UnboundedReceiver<Received>,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Answers {
    told: mpsc::UnboundedSender<Received>,
    /// The statuses to come; 200 once they are used up.
    statuses: std::sync::Arc<std::sync::Mutex<Vec<u16>>>,
    silent: bool,
}

impl Receiver {
    /// Answers with these in turn, and with 200 after them.
    pub(super) async fn answering(statuses: Vec<u16>) -> Self {
        Self::new(statuses, false).await
    }

    /// As [`Self::answering`], over TLS, with this certificate.
    pub(super) async fn tls(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(std::sync::Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let (told, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
        let answers = Answers { told, statuses: Default::default(), silent: false };
        let app = Router::new().route("/hook", post(take)).with_state(answers);
        let serving = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the certificate goes.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(app.clone());
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            }
        };
        Self { url, received, _server: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// Takes requests and never answers.
    pub(super) async fn silent() -> Self {
        Self::new(Vec::new(), true).await
    }

    async fn new(statuses: Vec<u16>, silent: bool) -> Self {
        let (told, received) = mpsc::unbounded_channel();
        let statuses = std::sync::Arc::new(std::sync::Mutex::new(statuses.into_iter().rev().collect()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let app = Router::new().route("/hook", post(take)).with_state(Answers { told, statuses, silent });
        let serving = async { axum::serve(listener, app).await.unwrap() };
        Self { url, received, _server: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    pub(super) async fn next(&mut self) -> Received {
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), self.received.recv()).await;
        waited.expect("nothing came").unwrap()
    }
}

async fn take(State(answers): State<Answers>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let status = answers.statuses.lock().unwrap().pop().unwrap_or(200);
    let body = String::from_utf8(body.to_vec()).unwrap();
    let _ = answers.told.send(Received { headers, body });
    if answers.silent {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(status).unwrap()
}
