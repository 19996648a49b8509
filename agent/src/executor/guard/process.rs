//! The process `kitty-guard` and the socket to it.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use chaos_kitty_guard::{
    hooks,
    message::{Answer, Lines, Order, line},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

use crate::host::container;

/// A guard that takes nothing in, or has nothing to do and does not end, for this long hangs.
const HANGS: Duration = Duration::from_secs(2);

/// A guard that is dismissed puts back what is left, and may take this long.
const PUTS_BACK: Duration = Duration::from_secs(30);

/// A running guard.
pub(super) struct GuardProcess {
    child: Child,
    pid: u32,
    stream: UnixStream,
    lines: Lines,
}

impl GuardProcess {
    /// Starts the program. Its standard input is our socket, its standard output the lock on the state folder
    /// (so that nobody else reverts there before it has), its log goes to our standard error, and nothing else
    /// is inherited.
    pub(super) fn start(program: &Path, lock: Option<&File>) -> io::Result<Self> {
        let lock = lock.map(File::try_clone).transpose()?;
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(program)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(lock.map_or_else(Stdio::null, Stdio::from))
            .env_clear()
            .envs(hooks::variables())
            .current_dir("/")
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        if let Err(error) = container::leave(pid) {
            tracing::warn!(
                %error,
                "the guard is killed with the agent's container: give that the host's cgroup namespace and /sys/fs/cgroup"
            );
        }
        Ok(Self { child, pid, stream: UnixStream::from_std(ours)?, lines: Lines::default() })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// The next answer. `None`: it is gone. Nothing is lost when the call is dropped.
    pub(super) async fn answer(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some(answer) = self.lines.take()? {
                return Ok(Some(answer));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await? {
                0 => return Ok(None),
                count => self.lines.push(&bytes[..count]),
            }
        }
    }

    pub(super) async fn send(&mut self, order: &Order) -> io::Result<()> {
        timeout(HANGS, self.stream.write_all(&line(order)?)).await?
    }

    /// Closes the socket, upon which it puts back what it `holds` and ends. One that does not is killed.
    pub(super) async fn dismiss(self, holds: bool) {
        let Self { mut child, stream, .. } = self;
        drop(stream);
        let limit = if holds { PUTS_BACK } else { HANGS };
        if timeout(limit, child.wait()).await.is_err() {
            tracing::error!("the guard does not end");
            kill(child).await;
        }
    }

    /// Makes sure that it is gone, so that it and we do not put things back side by side.
    pub(super) async fn kill(self) {
        kill(self.child).await;
    }
}

async fn kill(mut child: Child) {
    if let Err(error) = child.kill().await {
        tracing::error!(%error, "the guard can not be killed");
    }
}
