//! A proxy between two programs on Unix sockets, which a test can cut or freeze.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chaos_kitty::endpoint::Endpoint;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Bytes pass.
    Open,
    /// Connections stay, nothing passes.
    Frozen,
    /// Connections are closed, new ones at once.
    Cut,
}

/// A proxy. It ends, with its connections, when dropped.
pub struct Proxy {
    path: PathBuf,
    mode: watch::Sender<Mode>,
    accepted: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `path` and forwards to the socket at `target`.
    pub fn new(path: &Path, target: &Path) -> Self {
        Self::with(path, target, None)
    }

    /// The same, but it closes a connection whose far end says nothing for so long, as proxies do.
    pub fn impatient(path: &Path, target: &Path, patience: Duration) -> Self {
        Self::with(path, target, Some(patience))
    }

    fn with(path: &Path, target: &Path, patience: Option<Duration>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (mode, watched) = watch::channel(Mode::Open);
        let accepted = Arc::new(AtomicUsize::new(0));
        let (target, counter) = (target.to_owned(), Arc::clone(&accepted));
        let acceptor = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(near, target.clone(), watched.clone(), patience));
            }
        });
        Self { path: path.to_owned(), mode, accepted, acceptor }
    }

    /// Where to dial it.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Closes all connections, and every new one at once.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets nothing pass, and closes nothing: what a network does that swallows packets.
    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    /// Bytes pass again.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Cut);
        self.acceptor.abort();
    }
}

async fn connection(
    near: UnixStream,
    target: PathBuf,
    mut mode: watch::Receiver<Mode>,
    patience: Option<Duration>,
) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(far) = UnixStream::connect(target).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, mode.clone(), None) => {}
        () = pump(far_in, near_out, mode.clone(), patience) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    patience: Option<Duration>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer);
        let read = match patience {
            Some(patience) => timeout(patience, read).await,
            None => Ok(read.await),
        };
        let Ok(Ok(count @ 1..)) = read else { return };
        if mode.wait_for(|mode| *mode != Mode::Frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
