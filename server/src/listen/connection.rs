//! One connection: the handshake, then HTTP/1 or HTTP/2 as the peer begins.

use std::{future::pending, sync::Arc, time::Duration};

use axum::Router;
use chaos_kitty::limits;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    pin,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    Losses, PeerInfo, body,
    seats::{Activity, Seat},
    tls,
};

/// Requests under way on one connection at the most.
const CONCURRENT_STREAMS: u32 = 100;

/// How long a peer that was turned away may take to hear of it.
const LINGER: Duration = Duration::from_secs(1);
/// How long an idle peer may take to hear that its connection is closed.
const FAREWELL: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) peer: PeerInfo,
    /// Finish what is under way.
    pub(super) stop: CancellationToken,
    /// Finish now.
    pub(super) abort: CancellationToken,
    pub(super) losses: Arc<Losses>,
    pub(super) seat: Seat,
}

impl Connection {
    pub(super) async fn encrypted(mut self, stream: TcpStream, acceptor: Arc<TlsAcceptor>) {
        let handshake = tokio::select! {
            () = self.stop.cancelled() => return,
            handshake = timeout(limits::HELLO_TIMEOUT, acceptor.accept(stream).into_fallible()) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                self.peer.tls_subject = certificates.and_then(<[_]>::first).map(tls::names);
                self.plain(stream).await;
            }
            Ok(Err((error, stream))) => {
                self.handshake_failed(&error.to_string());
                linger(stream).await;
            }
            Err(_) => self.handshake_failed("it took too long"),
        }
    }

    fn handshake_failed(&self, what: &str) {
        self.losses.handshake.add();
        tracing::debug!(peer = ?self.peer.tcp, what, "a TLS handshake failed");
    }

    pub(super) async fn plain<I>(self, io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = &self.seat.activity;
        let service = service_fn(|mut request: Request<Incoming>| {
            let open = activity.open();
            request.extensions_mut().insert(self.peer.clone());
            let answer = self.router.clone().oneshot(body::timed(request));
            async move { answer.await.map(|answer| answer.map(|body| body::held(body, open))) }
        });
        let builder = http();
        let connection = builder.serve_connection(TokioIo::new(io), service);
        pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silence(activity) => return self.losses.silent.add(),
            () = activity.over() => {
                self.losses.idle.add();
                connection.as_mut().graceful_shutdown();
                let _ = timeout(FAREWELL, connection).await;
                return;
            }
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = self.abort.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = ?self.peer, error, "a connection broke off");
        }
    }
}

/// What the peer has under way is taken, so that it reads why it was turned away before the connection breaks.
async fn linger(mut stream: TcpStream) {
    let read = async {
        let _ = stream.shutdown().await;
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    };
    let _ = timeout(LINGER, read).await;
}

/// Comes back once the peer has had its time and made no request.
async fn silence(activity: &Activity) {
    sleep(limits::HELLO_TIMEOUT).await;
    if activity.was_used() {
        pending::<()>().await;
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HELLO_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .max_concurrent_streams(CONCURRENT_STREAMS);
    builder
}
