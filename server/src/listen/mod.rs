//! What kittyd listens on: Unix sockets, TCP and TLS, each with gRPC and REST on the one port.
//!
//! A connection with nothing under way is closed after a while, or at once where another needs its place; a body comes
//! in in time; and running out of descriptors makes the listener wait, not end.

mod accept;
mod bind;
mod body;
mod connection;
mod losses;
mod seats;
#[cfg(test)]
mod tests;
mod tls;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use chaos_kitty::{
    Problem,
    endpoint::Endpoint,
    peer::{Peer, Watched},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{accept::Acceptor, bind::Bound};
pub use self::{losses::Losses, tls::Certificates};
use crate::task::{self, OnPanic};

/// Who is at the other end of a connection. The listener puts it into the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct PeerInfo {
    /// The process behind a Unix socket, where the kernel can say.
    pub unix: Option<Peer>,
    /// The address of a TCP peer. `None`: it came over a Unix socket.
    pub tcp: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The names in the certificate that a TLS client presented, comma-separated. `None`: it presented none.
    pub tls_subject: Option<String>,
    /// What its address has left. `None`: nobody counts.
    pub(crate) places: Option<Arc<Semaphore>>,
}

/// The process behind a connection, whose end is seen. It takes a connection's place at its address, since it
/// takes a descriptor as one does.
#[derive(Debug)]
pub struct WatchedPeer {
    /// The process.
    pub process: Watched,
    _place: Option<OwnedSemaphorePermit>,
}

impl PeerInfo {
    /// Looks out for the end of the process behind a Unix socket from now on.
    ///
    /// # Errors
    /// There is no descriptor to spare for it.
    pub fn watch(&self) -> io::Result<Option<WatchedPeer>> {
        let Some(peer) = self.unix else { return Ok(None) };
        let place = self.places.clone().map(Semaphore::try_acquire_owned).transpose();
        let place = place.map_err(|_| io::Error::other("all connections of its address are in use"))?;
        Ok(Some(WatchedPeer { process: peer.watch()?, _place: place }))
    }
}

/// Where to listen, and under which conditions.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The addresses.
    pub endpoints: Vec<Endpoint>,
    /// PEM certificate chain of the `https://` addresses.
    pub tls_cert: Option<PathBuf>,
    /// PEM private key of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// PEM certificates of the authorities that clients' certificates must come from. `None`: clients need none.
    pub tls_client_ca: Option<PathBuf>,
    /// Plain TCP is allowed on addresses that other machines can reach.
    pub insecure: bool,
}

/// What is shown of the listeners.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The addresses, with the ports that the system chose.
    pub addresses: Vec<String>,
    /// What they turn away, as it is counted.
    pub losses: Arc<Losses>,
}

/// Everything that is listened on, before the first connection is accepted.
pub struct Listeners {
    bound: Vec<Bound>,
    certificates: Option<Arc<Certificates>>,
    losses: Arc<Losses>,
}

impl Listeners {
    /// Binds all addresses, or none.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::InUse`]: an address is taken. [`chaos_kitty::Code::Usage`]: one is not allowed, or can not
    /// be had, or the TLS files can not be used.
    pub async fn bind(settings: &Settings) -> Result<Self, Problem> {
        bind::raise_descriptor_limit();
        let (bound, certificates) = bind::all(settings).await?;
        bind::name_low_limit(accept::connections_of(bound.len()));
        Ok(Self { bound, certificates, losses: Arc::default() })
    }

    /// What the `https://` addresses show, to be changed while they are served. `None`: there are none.
    pub fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }

    /// What to show of them.
    pub fn listening(&self) -> Listening {
        let addresses = self.bound.iter().map(|bound| bound.address.to_string()).collect();
        Listening { addresses, losses: Arc::clone(&self.losses) }
    }

    /// Accepts and serves until `stop`; then the addresses are given up at once, and what is under way has
    /// `patience` to end.
    pub async fn serve(self, router: Router, stop: CancellationToken, patience: Duration) {
        let (tracker, abort) = (TaskTracker::new(), CancellationToken::new());
        let listeners = self.bound.len();
        for bound in self.bound {
            let acceptor = Acceptor {
                router: router.clone(),
                tracker: tracker.clone(),
                stop: stop.clone(),
                abort: abort.clone(),
                losses: Arc::clone(&self.losses),
            };
            let accepting = acceptor.run(bound, accept::connections_of(listeners));
            task::spawn(OnPanic::Abort, tracker.track_future(accepting));
        }
        stop.cancelled().await;
        tracker.close();
        if timeout(patience, tracker.wait()).await.is_err() {
            tracing::warn!(connections = tracker.len(), "closing connections that did not end by themselves");
            abort.cancel();
            tracker.wait().await;
        }
    }
}
