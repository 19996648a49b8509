//! From addresses to listening sockets.

use std::{io, sync::Arc};

use chaos_kitty::{Code, Problem, endpoint::Endpoint, socket::LocalSocket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Settings, tls, tls::Certificates};

/// Below this, a fleet or a few careless clients use up what there is.
const FEW_DESCRIPTORS: usize = 1024;
/// Only the server's own user may connect.
const SOCKET_MODE: u32 = 0o600;

pub(super) struct Bound {
    /// As it is listened on: with the port that the system chose.
    pub(super) address: Endpoint,
    pub(super) socket: Socket,
}

pub(super) enum Socket {
    Unix(LocalSocket),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

pub(super) async fn all(settings: &Settings) -> Result<(Vec<Bound>, Option<Arc<Certificates>>), Problem> {
    settings.endpoints.iter().try_for_each(|endpoint| permitted(endpoint, settings.insecure))?;
    let wanted =
        settings.endpoints.iter().any(|endpoint| matches!(endpoint, Endpoint::Tcp { tls: true, .. }));
    let (acceptor, certificates) = tls::acceptor(settings, wanted)?.unzip();
    let mut bound = Vec::new();
    for endpoint in &settings.endpoints {
        bound.push(one(endpoint, acceptor.as_ref()).await?);
    }
    Ok((bound, certificates))
}

/// Plain TCP that other machines can reach must be wanted explicitly.
fn permitted(endpoint: &Endpoint, insecure: bool) -> Result<(), Problem> {
    match endpoint {
        Endpoint::Tcp { tls: false, .. } if !endpoint.is_local() && !insecure => Err(Problem::new(
            Code::Usage,
            format!("{endpoint}: anyone who reaches this address could order faults"),
        )
        .hint("listen on https:// with --tls-cert, --tls-key and --tls-client-ca, or on a loopback address; --insecure allows it as it is")),
        _ => Ok(()),
    }
}

async fn one(endpoint: &Endpoint, acceptor: Option<&TlsAcceptor>) -> Result<Bound, Problem> {
    let (host, port, tls) = match endpoint {
        Endpoint::Unix(path) => {
            let socket = LocalSocket::bind(path, SOCKET_MODE)?;
            return Ok(Bound { address: endpoint.clone(), socket: Socket::Unix(socket) });
        }
        Endpoint::Tcp { host, port, tls } => (host, *port, *tls),
    };
    let failed = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::AddrInUse { Code::InUse } else { Code::Usage };
        Problem::new(code, format!("listening on {endpoint}: {error}"))
            .hint("end the program that listens there, or name another address with --listen")
    };
    let listener = TcpListener::bind((host.as_str(), port)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let address = Endpoint::Tcp { host: host.clone(), port, tls };
    Ok(Bound { address, socket: Socket::Tcp(listener, acceptor.filter(|_| tls).cloned()) })
}

/// As many descriptors as the system gives: each connection takes one, and a worker of this machine another.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

/// Says so where there are few descriptors: `each` connections are taken at each address.
pub(super) fn name_low_limit(each: usize) {
    let limit = descriptor_limit();
    if limit < FEW_DESCRIPTORS {
        tracing::warn!(
            limit,
            connections = each,
            "the limit on open files is low, so each address takes few connections; raise it with LimitNOFILE= of the \
             unit, or with `ulimit -Hn`"
        );
    }
}

/// Descriptors that this process may have.
pub(super) fn descriptor_limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

impl Socket {
    pub(super) fn acceptor(&self) -> Option<Arc<TlsAcceptor>> {
        match self {
            Self::Tcp(_, acceptor) => acceptor.clone().map(Arc::new),
            Self::Unix(_) => None,
        }
    }
}
