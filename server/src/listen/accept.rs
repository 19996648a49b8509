//! The accept loop of one address.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use chaos_kitty::peer::Peer;
use rustix::net::sockopt;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Losses, PeerInfo,
    bind::{self, Bound, Socket},
    connection::Connection,
};

/// Connections of one address at the most, where descriptors suffice.
const CONNECTIONS: usize = 20_000;
/// Descriptors that connections leave to everything else.
const RESERVE: usize = 64;
/// Descriptors that one address leaves to each of the others.
const KEPT: usize = 256;
/// How long to wait when the system has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(100);
/// A TCP peer that says nothing is asked after this time, and again, and then given up.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// How many connections an address takes, so that a flood on it leaves the others open. A fleet that comes by one
/// address alone finds nearly all descriptors there.
pub(super) fn connections_of(listeners: usize) -> usize {
    let kept = RESERVE + KEPT * listeners.saturating_sub(1);
    bind::descriptor_limit().saturating_sub(kept).clamp(1, CONNECTIONS)
}

pub(super) struct Acceptor {
    pub(super) router: Router,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) losses: Arc<Losses>,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Acceptor {
    /// Accepts until it is told to stop. Returning gives the address up.
    pub(super) async fn run(self, bound: Bound, most: usize) {
        let places = Arc::new(Semaphore::new(most));
        let mut trouble = Trouble { address: bound.address.to_string(), present: false };
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = accept(&bound.socket) => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, mut peer)), Ok(place)) => {
                    trouble.over();
                    peer.places = Some(Arc::clone(&places));
                    self.spawn(stream, peer, &bound.socket, place);
                }
                (Ok(_), Err(_)) => {
                    self.losses.over_limit.add();
                    trouble.begins(&format!("all {most} connections of this address are in use"));
                }
                (Err(error), _) if is_the_peers(&error) => self.losses.accept.add(),
                (Err(error), _) => {
                    self.losses.accept.add();
                    trouble.begins(&error.to_string());
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    fn spawn(
        &self,
        stream: Stream,
        peer: PeerInfo,
        socket: &Socket,
        place: tokio::sync::OwnedSemaphorePermit,
    ) {
        let connection = Connection {
            router: self.router.clone(),
            peer,
            stop: self.stop.clone(),
            abort: self.abort.clone(),
            losses: Arc::clone(&self.losses),
            _place: place,
        };
        match stream {
            Stream::Unix(stream) => self.tracker.spawn(connection.plain(stream)),
            Stream::Tcp(stream) => match socket.acceptor() {
                None => self.tracker.spawn(connection.plain(stream)),
                Some(acceptor) => self.tracker.spawn(connection.encrypted(stream, acceptor)),
            },
        };
    }
}

async fn accept(socket: &Socket) -> io::Result<(Stream, PeerInfo)> {
    match socket {
        Socket::Unix(socket) => {
            let (stream, _) = socket.listener.accept().await?;
            let peer = PeerInfo { unix: Peer::of(&stream), ..PeerInfo::default() };
            Ok((Stream::Unix(stream), peer))
        }
        Socket::Tcp(listener, acceptor) => {
            let (stream, address) = listener.accept().await?;
            tune(&stream);
            let peer = PeerInfo { tcp: Some(address), tls: acceptor.is_some(), ..PeerInfo::default() };
            Ok((Stream::Tcp(stream), peer))
        }
    }
}

/// A peer that is gone without a word is noticed; small messages go out at once.
fn tune(stream: &TcpStream) {
    let tuned = sockopt::set_tcp_nodelay(stream, true)
        .and_then(|()| sockopt::set_socket_keepalive(stream, true))
        .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEPALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEPALIVE))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TRIES))
        .and_then(|()| sockopt::set_tcp_user_timeout(stream, keepalive_total()));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection is left untuned");
    }
}

fn keepalive_total() -> u32 {
    u32::try_from(KEEPALIVE.as_millis()).unwrap_or(u32::MAX).saturating_mul(KEEPALIVE_TRIES + 1)
}

/// The connection failed before it was accepted: no reason to wait with the next.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Says once that connections can not be accepted, and once that they can again.
struct Trouble {
    address: String,
    present: bool,
}

impl Trouble {
    fn begins(&mut self, what: &str) {
        if !std::mem::replace(&mut self.present, true) {
            tracing::error!(address = self.address, what, "connections are not accepted at present");
        }
    }

    fn over(&mut self) {
        if std::mem::replace(&mut self.present, false) {
            tracing::info!(address = self.address, "connections are accepted again");
        }
    }
}
