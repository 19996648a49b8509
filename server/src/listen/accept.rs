//! The accept loop of one address.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use chaos_kitty::peer::Peer;
use rustix::net::sockopt;
use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Losses, PeerInfo,
    bind::{self, Bound, Socket},
    connection::Connection,
    seats::{Seat, Seats},
};

/// Connections of one address at the most, where descriptors suffice.
const CONNECTIONS: usize = 20_000;
/// Descriptors that connections leave to everything else, where there are twice as many.
const RESERVE: usize = 64;
/// Descriptors that one address leaves to each of the others, where they suffice.
const KEPT: usize = 256;
/// Trouble is told of once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
/// How long to wait when the system has no descriptors or memory left.
const PAUSE: Duration = Duration::from_millis(100);
/// A TCP peer that says nothing is asked after this time, and again, and then given up.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// How many connections an address takes, so that a flood on it leaves the others open. A fleet that comes by one
/// address alone finds nearly all descriptors there.
pub(super) fn connections_of(listeners: usize) -> usize {
    places(bind::descriptor_limit(), listeners)
}

fn places(descriptors: usize, listeners: usize) -> usize {
    let rest = descriptors - RESERVE.min(descriptors / 2);
    let kept = KEPT.min(rest / (2 * listeners.max(1)));
    (rest - kept * listeners.saturating_sub(1)).clamp(1, CONNECTIONS)
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
        let seats = Seats::new(most);
        let mut trouble = Trouble { address: bound.address.to_string(), present: false, told: None };
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = accept(&bound.socket) => accepted,
            };
            match accepted {
                Ok((stream, mut peer)) => match seats.take(&peer).await {
                    Some(seat) => {
                        trouble.over();
                        peer.places = Some(Arc::clone(seats.free()));
                        self.spawn(stream, peer, &bound.socket, seat);
                    }
                    None => {
                        self.losses.over_limit.add();
                        trouble.begins(&format!("the {most} connections of this address are in use"));
                    }
                },
                Err(error) if is_the_peers(&error) => self.losses.accept.add(),
                Err(error) => {
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

    fn spawn(&self, stream: Stream, peer: PeerInfo, socket: &Socket, seat: Seat) {
        let connection = Connection {
            router: self.router.clone(),
            peer,
            stop: self.stop.clone(),
            abort: self.abort.clone(),
            losses: Arc::clone(&self.losses),
            seat,
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

/// Says that connections can not be accepted, and that they can again; not with each change of a flood.
struct Trouble {
    address: String,
    present: bool,
    told: Option<Instant>,
}

impl Trouble {
    fn begins(&mut self, what: &str) {
        if !self.present && self.told.is_none_or(|at| at.elapsed() > TOLD_AGAIN) {
            (self.present, self.told) = (true, Some(Instant::now()));
            tracing::error!(address = self.address, what, "connections are not accepted at present");
        }
    }

    fn over(&mut self) {
        if std::mem::replace(&mut self.present, false) {
            tracing::info!(address = self.address, "connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_are_shared_and_leave_some_for_the_rest() {
        for (descriptors, listeners, each) in
            [(64, 2, 24), (64, 1, 32), (300, 2, 177), (20_000, 2, 19_680), (1_048_576, 3, 20_000), (1, 1, 1)]
        {
            assert_eq!(places(descriptors, listeners), each, "{descriptors} for {listeners}");
        }
        // A flood on all addresses but one leaves that one some, and the process its own.
        assert!(64 - RESERVE.min(32) - places(64, 2) >= 8);
    }
}
