//! Dialling: an [`Endpoint`] becomes a gRPC channel, over a Unix socket, TCP or TLS.

use std::{
    borrow::Cow,
    io, iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint as Transport, Identity, Uri};

use crate::{
    Code, Problem,
    endpoint::{DEFAULT_SOCKET, Endpoint},
    limits, text,
    trust::{self, Trust},
    v1::chaos_client::ChaosClient,
};

/// Longest wait for a connection to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) const TLS_HINT: &str = "check that --tls-ca is the authority of the server's certificate, and that \
    --tls-cert is one the server accepts";

pub(crate) const PLAIN_HINT: &str = "check that kittyd listens there, and whether it is http:// or https://";

/// The files that TLS needs on the dialling side.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// PEM certificates of the authorities to trust. Required for `https://`.
    pub ca: Option<PathBuf>,
    /// PEM certificate chain to present, for mutual TLS.
    pub cert: Option<PathBuf>,
    /// PEM private key of `cert`.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must carry, where it is not the endpoint's host.
    pub name: Option<String>,
}

/// The service's client, with the limits of the contract.
pub type Client = ChaosClient<Channel>;

/// Connects, and answers once the transport stands.
///
/// # Errors
/// [`Code::NotReachable`] when nothing answers, [`Code::Tls`] when a certificate is not accepted,
/// [`Code::Usage`] when the TLS files can not be used.
pub async fn dial(endpoint: &Endpoint, tls: &TlsFiles) -> Result<Client, Problem> {
    connect(endpoint, tls).await.map(client)
}

/// Connects to the first of the usual places where a server answers.
///
/// # Errors
/// [`Code::NotReachable`], with all places that were tried and why each was none; the problem of a socket that is not to
/// be trusted.
pub async fn dial_usual(tls: &TlsFiles) -> Result<(Endpoint, Client), Problem> {
    let mut tried = Vec::new();
    let mut hint = "start kittyd, or name its address with --server or KITTY_SERVER".to_owned();
    for endpoint in Endpoint::usual() {
        match try_connect(&endpoint, tls).await? {
            Ok(channel) => return Ok((endpoint, client(channel))),
            // Where somebody else may have put a socket, nothing is to be believed.
            Err(error) if problem_of(&error).is_some() => return Err(unreachable_problem(&endpoint, &error)),
            Err(error) if is_denied(&error) => {
                let Denied { what, to_do } = Denied::at(&endpoint);
                tried.push(format!("{endpoint} ({what})"));
                hint = to_do;
            }
            Err(error) => tried.push(format!("{endpoint} ({})", root(&error))),
        }
    }
    let what = format!("looking for kittyd: no answer at {}", tried.join(", "));
    Err(Problem::new(Code::NotReachable, what).hint(hint))
}

/// The same, for the client of any other service.
///
/// # Errors
/// See [`dial`].
pub async fn connect(endpoint: &Endpoint, tls: &TlsFiles) -> Result<Channel, Problem> {
    try_connect(endpoint, tls).await?.map_err(|error| unreachable_problem(endpoint, &error))
}

async fn try_connect(
    endpoint: &Endpoint,
    tls: &TlsFiles,
) -> Result<Result<Channel, tonic::transport::Error>, Problem> {
    let transport = transport(endpoint, tls)?;
    Ok(match endpoint {
        Endpoint::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { connect_trusted(&path).await.map(TokioIo::new) }
            });
            transport.connect_with_connector(connector).await
        }
        Endpoint::Tcp { .. } => transport.connect().await,
    })
}

/// Whether an address and files can be dialled with at all, for who tries for as long as it runs.
///
/// # Errors
/// [`Code::Usage`].
pub fn check(endpoint: &Endpoint, tls: &TlsFiles) -> Result<(), Problem> {
    transport(endpoint, tls).map(drop)
}

fn transport(endpoint: &Endpoint, tls: &TlsFiles) -> Result<Transport, Problem> {
    let transport = match endpoint {
        Endpoint::Unix(_) => Transport::from_static("http://localhost"),
        Endpoint::Tcp { .. } => Transport::from_shared(endpoint.to_string())
            .map_err(|error| Problem::new(Code::Usage, format!("address {endpoint}: {error}")))?,
    };
    let transport = transport
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(10)))
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW);
    if !matches!(endpoint, Endpoint::Tcp { tls: true, .. }) {
        return Ok(transport);
    }
    transport
        .tls_config(tls_config(tls)?)
        .map_err(|error| Problem::new(Code::Usage, format!("TLS files can not be used: {}", chain(&error))))
}

/// The service's client over a channel that somebody else made.
pub fn client(channel: Channel) -> Client {
    ChaosClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES)
}

/// Connects if those who could answer there are trusted: the socket and the way to it, and then whoever listens, since
/// another may have been put there meanwhile.
async fn connect_trusted(path: &Path) -> io::Result<UnixStream> {
    let mut trust = Trust::own();
    if path.symlink_metadata().is_ok()
        && let Err(problem) = trust.check(path)
    {
        // Nobody has named the one in the working directory, where any socket may lie.
        if path == Path::new(DEFAULT_SOCKET) {
            return Err(io::Error::other(problem));
        }
        trust = trust.with_service()?;
        trust.check(path).map_err(io::Error::other)?;
    }
    let stream = connect_unix(path).await?;
    match stream.peer_cred()?.uid() {
        uid if trust.in_user(uid) => Ok(stream),
        uid => Err(io::Error::other(trust::untrusted_peer(path, uid))),
    }
}

/// A full backlog makes `connect` on a Unix socket fail with EAGAIN at once; the peer is there, so try on.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let started = Instant::now();
    loop {
        match UnixStream::connect(path).await {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < CONNECT_TIMEOUT =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
}

fn tls_config(files: &TlsFiles) -> Result<ClientTlsConfig, Problem> {
    let read = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|error| error.to_string());
        let pem = bytes.and_then(|bytes| text::unmarked(&bytes).map(Cow::into_owned));
        pem.map_err(|error| {
            Problem::new(Code::Usage, format!("reading {}: {error}", path.display()))
                .hint("name a readable PEM file")
        })
    };
    let Some(ca) = &files.ca else {
        return Err(Problem::new(Code::Usage, "https:// needs the authority's certificate")
            .hint("give --tls-ca FILE"));
    };
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => config = config.identity(Identity::from_pem(read(cert)?, read(key)?)),
        (None, None) => {}
        _ => {
            return Err(Problem::new(Code::Usage, "a client certificate needs both its files")
                .hint("give --tls-cert FILE and --tls-key FILE"));
        }
    }
    if let Some(name) = &files.name {
        config = config.domain_name(name);
    }
    Ok(config)
}

fn unreachable_problem(endpoint: &Endpoint, error: &tonic::transport::Error) -> Problem {
    if let Some(problem) = problem_of(error) {
        return Problem { message: format!("connecting to {endpoint}: {}", problem.message), ..problem };
    }
    let text = chain(error);
    if is_tls(error) {
        return Problem::new(Code::Tls, format!("connecting to {endpoint}: {text}")).hint(TLS_HINT);
    }
    if is_denied(error) {
        let Denied { what, to_do } = Denied::at(endpoint);
        return Problem::new(Code::NotReachable, format!("connecting to {endpoint}: {what}")).hint(to_do);
    }
    let hint = match endpoint {
        Endpoint::Unix(_) => "start kittyd, or name its address with --server or KITTY_SERVER",
        Endpoint::Tcp { .. } => "check that kittyd listens there (kittyd --listen), and the network between",
    };
    Problem::new(Code::NotReachable, format!("connecting to {endpoint}: {text}")).hint(hint)
}

/// The problem among the causes of an error.
fn problem_of(error: &(dyn std::error::Error + 'static)) -> Option<Problem> {
    let mut cause = Some(error);
    while let Some(next) = cause {
        if let Some(inner) = next.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(problem) = inner.downcast_ref::<Problem>()
        {
            return Some(problem.clone());
        }
        cause = next.source();
    }
    None
}

/// Whether the system did not let this process connect: somebody listens there, and it is not for this user.
fn is_denied(error: &tonic::transport::Error) -> bool {
    let causes = iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Why this user may not connect to a socket, and what to do.
struct Denied {
    what: String,
    to_do: String,
}

impl Denied {
    fn at(endpoint: &Endpoint) -> Self {
        let me = rustix::process::geteuid().as_raw();
        let what = match endpoint {
            Endpoint::Unix(path) => match std::fs::metadata(path) {
                Ok(socket) => format!(
                    "permission denied: it is open to user {} and group {} (mode {:04o}), and this is user {me}",
                    socket.uid(),
                    socket.gid(),
                    socket.mode() & 0o7777
                ),
                Err(_) => format!("permission denied: a folder on its path is not open to user {me}"),
            },
            Endpoint::Tcp { .. } => "permission denied by this host (a firewall?)".to_owned(),
        };
        let to_do = "connect as its user (sudo) or as a member of its group, or name another address with --server \
                     or KITTY_SERVER";
        Self { what, to_do: to_do.to_owned() }
    }
}

/// The last cause of an error: what the system said.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let last = iter::successors(Some(error), |cause| cause.source()).last();
    last.map(ToString::to_string).unwrap_or_default()
}

/// An error with its causes, each once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let line = next.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = next.source();
    }
    text
}

pub(crate) fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let text = chain(error).to_lowercase();
    ["certificate", "tls", "handshake", "alert"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        os::unix::{fs::chown, process::CommandExt},
        process::{Child, Command, Stdio},
    };

    use super::*;

    const NOBODY: u32 = 65534;
    const LISTEN: &str = "import socket, sys, time
there = socket.socket(socket.AF_UNIX)
there.bind(sys.argv[1])
there.listen()
print('up', flush=True)
time.sleep(600)";

    struct Planted(Child);

    impl Planted {
        fn at(path: &Path) -> Self {
            let mut command = Command::new("python3");
            command.arg("-c").arg(LISTEN).arg(path).uid(NOBODY).gid(NOBODY).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            Self(child)
        }
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Needs root.
    #[tokio::test]
    async fn a_socket_of_another_user_is_not_spoken_to_whoever_owns_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kitty.ipc");
        chown(folder.path(), Some(NOBODY), None).unwrap();
        let _planted = Planted::at(&path);
        let endpoint = Endpoint::Unix(path.clone());
        let refused = async || dial(&endpoint, &TlsFiles::default()).await.unwrap_err();
        let problem = refused().await;
        assert_eq!(problem.code, Code::Untrusted, "{problem}");
        assert!(problem.message.contains("belongs to uid 65534"), "{problem}");
        chown(folder.path(), Some(0), None).unwrap();
        chown(&path, Some(0), None).unwrap();
        let problem = refused().await;
        assert_eq!(problem.code, Code::Untrusted, "{problem}");
        assert!(problem.message.contains("listens uid 65534"), "{problem}");
    }
}
