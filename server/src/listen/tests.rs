use std::{fs, path::Path};

use axum::{
    Extension,
    body::Body,
    routing::{get, post},
};
use bytes::Bytes;
use chaos_kitty::{
    Code,
    client::{TlsFiles, dial},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

struct Running {
    addresses: Vec<Endpoint>,
    losses: Arc<Losses>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(settings: Settings) -> Self {
        let listeners = Listeners::bind(&settings).await.unwrap();
        let Listening { addresses, losses } = listeners.listening();
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/peer", get(|Extension(peer): Extension<PeerInfo>| async move { who(&peer) }))
            .route("/never", get(std::future::pending::<()>));
        let served = tokio::spawn(listeners.serve(router, stop.clone(), Duration::from_millis(200)));
        Self { addresses, losses, stop, served }
    }

    fn tcp(&self) -> (&str, u16) {
        let find = |address| match address {
            &Endpoint::Tcp { ref host, port, .. } => Some((host.as_str(), port)),
            Endpoint::Unix(_) => None,
        };
        self.addresses.iter().find_map(find).unwrap()
    }

    fn lost(&self, name: &str) -> u64 {
        self.losses.all().find(|(counter, _)| counter == name).map_or(0, |(_, lost)| lost)
    }
}

fn who(peer: &PeerInfo) -> String {
    let process = peer.unix.as_ref().map(|process| process.pid);
    format!("unix={process:?} tcp={} tls={} subject={:?}", peer.tcp.is_some(), peer.tls, peer.tls_subject)
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn plain(folder: &Path) -> Settings {
    let endpoints = vec![Endpoint::Unix(folder.join("kitty.ipc")), "http://127.0.0.1:0".parse().unwrap()];
    Settings { endpoints, ..Settings::default() }
}

/// Everything that comes back until the connection ends or is silent for too long.
async fn ask(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    io.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, io.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection was not closed");
    String::from_utf8_lossy(&answer).into_owned()
}

use tokio::io::{AsyncRead, AsyncWrite};

const PEER: &[u8] = b"GET /peer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn each_request_knows_who_asks() {
    let folder = folder();
    let running = Running::start(plain(folder.path())).await;
    let unix = ask(UnixStream::connect(folder.path().join("kitty.ipc")).await.unwrap(), PEER).await;
    let own = format!("unix=Some({}) tcp=false tls=false", std::process::id());
    assert!(unix.starts_with("HTTP/1.1 200") && unix.contains(&own), "{unix}");
    let tcp = ask(TcpStream::connect(running.tcp()).await.unwrap(), PEER).await;
    assert!(tcp.contains("unix=None tcp=true tls=false"), "{tcp}");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_nothing_else() {
    let folder = folder();
    let running = Running::start(plain(folder.path())).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let frames = [&preface[..], &[0xff; 4096]].concat();
    let long = ["GET /", &"x".repeat(1 << 20), " HTTP/1.1\r\n\r\n"].concat();
    for garbage in [&[0xc1; 4096][..], b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", &frames, long.as_bytes()] {
        let mut io = TcpStream::connect(running.tcp()).await.unwrap();
        // It may be closed before everything is written.
        let _ = io.write_all(garbage).await;
        let _ = io.shutdown().await;
        let closed = timeout(PATIENCE, io.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{:?} keeps its connection", &garbage[..5]);
    }
    let answer = ask(TcpStream::connect(running.tcp()).await.unwrap(), PEER).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_silent_connections_are_closed_in_time() {
    let folder = folder();
    let running = Running::start(plain(folder.path())).await;
    let mut silent = Vec::new();
    for half in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /peer HT", b"PRI * H"] {
        for _ in 0..25 {
            let mut tcp = TcpStream::connect(running.tcp()).await.unwrap();
            tcp.write_all(half).await.unwrap();
            let mut unix = UnixStream::connect(folder.path().join("kitty.ipc")).await.unwrap();
            unix.write_all(half).await.unwrap();
            silent.push((tcp, unix));
        }
    }
    // The clock is virtual: it runs on as soon as nobody has anything to do.
    let closed = timeout(Duration::from_secs(3600), async {
        for (mut tcp, mut unix) in silent {
            let _ = tcp.read_to_end(&mut Vec::new()).await;
            let _ = unix.read_to_end(&mut Vec::new()).await;
        }
    });
    closed.await.expect("all of them are closed");
    assert!(running.lost("connections_silent") > 0);
}

#[tokio::test]
async fn the_end_waits_for_no_one_for_ever_and_removes_the_socket() {
    let folder = folder();
    let running = Running::start(plain(folder.path())).await;
    let mut hanging = TcpStream::connect(running.tcp()).await.unwrap();
    hanging.write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let answer = ask(TcpStream::connect(running.tcp()).await.unwrap(), PEER).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.stop.cancel();
    timeout(PATIENCE, running.served).await.unwrap().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(hanging.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn plain_tcp_that_others_reach_must_be_wanted() {
    let mut settings =
        Settings { endpoints: vec!["http://0.0.0.0:0".parse().unwrap()], ..Settings::default() };
    let problem = Listeners::bind(&settings).await.err().unwrap();
    assert_eq!(problem.code, Code::Usage);
    assert!(problem.hint.contains("--insecure"), "{problem}");
    settings.insecure = true;
    assert!(Listeners::bind(&settings).await.is_ok());
}

#[tokio::test]
async fn an_address_in_use_is_named_and_the_others_are_given_up() {
    let folder = folder();
    let running = Running::start(plain(folder.path())).await;
    let other = folder.path().join("other.ipc");
    let endpoints = vec![Endpoint::Unix(other.clone()), running.addresses[1].clone()];
    let problem = Listeners::bind(&Settings { endpoints, ..Settings::default() }).await.err().unwrap();
    assert!(problem.message.contains("in use"), "{problem}");
    assert!(!other.exists());
}

/// An authority, and certificates from it, as files in a folder.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = folder();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn issue(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&paths.0, certificate.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    async fn serve(&self) -> Running {
        let (cert, key) = self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        Running::start(Settings {
            endpoints: vec!["https://localhost:0".parse().unwrap()],
            tls_cert: Some(cert),
            tls_key: Some(key),
            tls_client_ca: Some(self.path("ca.pem")),
            insecure: false,
        })
        .await
    }

    fn client(&self) -> TlsFiles {
        let (cert, key) = self.issue("alice", ExtendedKeyUsagePurpose::ClientAuth);
        TlsFiles { ca: Some(self.path("ca.pem")), cert: Some(cert), key: Some(key), name: None }
    }
}

/// What becomes of a call: a server that turns the certificate down says so only after the handshake.
async fn call(running: &Running, tls: &TlsFiles) -> Result<(), Problem> {
    let mut client = dial(&running.addresses[0], tls).await?;
    match client.get_status(chaos_kitty::v1::GetStatusRequest {}).await {
        // The router of these tests has no such service: HTTP got through.
        Err(status) if status.message().contains("404") || status.code() == tonic::Code::Unimplemented => {
            Ok(())
        }
        Err(status) => Err(status.into()),
        Ok(_) => Ok(()),
    }
}

#[tokio::test]
async fn only_certificates_of_the_authority_get_through() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let running = ours.serve().await;
    call(&running, &ours.client()).await.unwrap();

    let wrong_ca = TlsFiles { ca: theirs.client().ca, ..ours.client() };
    let problem = call(&running, &wrong_ca).await.unwrap_err();
    assert_eq!(problem.code, Code::Tls, "{problem}");

    let no_certificate = TlsFiles { ca: ours.client().ca, ..TlsFiles::default() };
    let problem = call(&running, &no_certificate).await.unwrap_err();
    assert_eq!(problem.code, Code::Tls, "{problem}");
    let foreign = TlsFiles { ca: ours.client().ca, ..theirs.client() };
    call(&running, &foreign).await.unwrap_err();
    assert!(running.lost("tls_handshakes_failed") >= 2);

    let plain = ask(TcpStream::connect(running.tcp()).await.unwrap(), PEER).await;
    assert!(!plain.contains("200"), "{plain}");
}

#[tokio::test]
async fn tls_files_that_can_not_be_used_are_named() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let bind = async |cert: Option<&Path>, key: Option<&Path>, address: &str| {
        let settings = Settings {
            endpoints: vec![address.parse().unwrap()],
            tls_cert: cert.map(Path::to_owned),
            tls_key: key.map(Path::to_owned),
            ..Settings::default()
        };
        Listeners::bind(&settings).await.map(|_| ()).map_err(|problem| problem.to_string())
    };
    let https = "https://127.0.0.1:0";
    bind(Some(&cert), Some(&key), https).await.unwrap();
    for (cert, key, address, expected) in [
        (Some(&*cert), None, https, "private key"),
        (None, None, https, "--tls-cert"),
        (Some(&*key), Some(&*key), https, "localhost.key: no certificate in it"),
        (Some(&*cert), Some(&*cert), https, "localhost.pem"),
        (Some(Path::new("/nowhere.pem")), Some(&*key), https, "/nowhere.pem"),
        (Some(&*cert), Some(&*key), "http://127.0.0.1:0", "no address uses them"),
    ] {
        let error = bind(cert, key, address).await.unwrap_err();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
}

#[tokio::test]
async fn whoever_is_watched_takes_a_place_at_its_address_and_gives_it_back() {
    let (one, _two) = UnixStream::pair().unwrap();
    let places = Some(Arc::new(Semaphore::new(1)));
    let peer = PeerInfo { unix: Peer::of(&one), places, ..PeerInfo::default() };
    let watched = peer.watch().unwrap().unwrap();
    assert_eq!(watched.process.peer.pid, std::process::id());
    assert!(peer.watch().is_err());
    drop(watched);
    assert!(peer.watch().unwrap().is_some());
    assert!(PeerInfo::default().watch().unwrap().is_none());
}

type Sender = hyper::client::conn::http2::SendRequest<Body>;

/// One end of an HTTP/2 connection in memory, on which a virtual clock does not run ahead, and its other end at work.
async fn http2(losses: &Arc<Losses>) -> (Sender, JoinHandle<()>) {
    let router = Router::new()
        .route("/well", get(async || "well"))
        .route("/never", get(std::future::pending::<()>))
        .route("/count", post(async |body: Bytes| body.len().to_string()))
        .route("/chaoskitty.v1.Chaos/Attach", post(async |body: Bytes| body.len().to_string()));
    let connection = connection::Connection {
        router,
        peer: PeerInfo::default(),
        stop: CancellationToken::new(),
        abort: CancellationToken::new(),
        losses: Arc::clone(losses),
        seat: seats::Seats::new(1).take(&PeerInfo::default()).await.unwrap(),
    };
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(connection.plain(theirs));
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(ours);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    (sender, served)
}

fn request(method: &str, path: &str, body: Body) -> http::Request<Body> {
    http::Request::builder().method(method).uri(format!("http://localhost{path}")).body(body).unwrap()
}

/// A first byte, and then nothing.
fn trickle() -> Body {
    use futures_util::StreamExt;
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
    Body::from_stream(first.chain(futures_util::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn idle_http2_connections_are_closed_and_busy_ones_are_not() {
    let losses = Arc::<Losses>::default();
    let ((mut idle, closed), (mut busy, open)) = (http2(&losses).await, http2(&losses).await);
    let answer = idle.send_request(request("GET", "/well", Body::empty())).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let never = tokio::spawn(busy.send_request(request("GET", "/never", Body::empty())));
    timeout(Duration::from_secs(3600), closed).await.expect("it is closed").unwrap();
    let lost: Vec<_> = losses.all().collect();
    assert_eq!(lost, [("connections_idle".to_owned(), 1)]);
    assert!(!open.is_finished() && !never.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up_and_a_stream_that_is_endless_is_not() {
    let (mut sender, _open) = http2(&Arc::default()).await;
    let whole = sender.send_request(request("POST", "/count", Body::from("abc"))).await.unwrap();
    assert_eq!(whole.status(), 200);
    let given_up = sender.send_request(request("POST", "/count", trickle()));
    let given_up = timeout(Duration::from_secs(3600), given_up).await.expect("it is given up").unwrap();
    assert!(given_up.status().is_client_error(), "{given_up:?}");
    let endless = sender.send_request(request("POST", "/chaoskitty.v1.Chaos/Attach", trickle()));
    assert!(timeout(Duration::from_secs(3600), endless).await.is_err());
}
