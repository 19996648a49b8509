//! Who is at the other end of a Unix socket, by the kernel's word and not by the peer's.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{io::unix::AsyncFd, net::UnixStream};

use crate::procfs;

/// Which process is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its pid in our pid namespace.
    pub pid: u32,
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its start time in clock ticks since boot: with the pid, it names this incarnation.
    pub start_time: u64,
}

/// A peer whose end can be seen. It costs a descriptor.
#[derive(Debug)]
pub struct Watched {
    /// Who it is.
    pub peer: Peer,
    /// `None`: it had ended before it was watched.
    pidfd: Option<OwnedFd>,
}

impl Peer {
    /// The process that connected. `None` where the kernel can not say: it lives in a pid namespace that
    /// is not ours, or it is gone already.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        Watched::of(stream).map(|watched| watched.peer)
    }

    /// Looks out for its end from now on.
    ///
    /// # Errors
    /// There is no descriptor left for it.
    pub fn watch(self) -> io::Result<Watched> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pidfd = match pid.map_or(Err(Errno::SRCH), |pid| pidfd_open(pid, PidfdFlags::empty())) {
            // Another process has its pid by now.
            Ok(pidfd) => Some(pidfd).filter(|_| start_time(self.pid).ok() == Some(self.start_time)),
            Err(Errno::SRCH) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Watched { peer: self, pidfd })
    }
}

impl Watched {
    /// As [`Peer::of`], and looks out for its end from now on.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
        let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
        let pidfd = pidfd_open(credentials.pid, PidfdFlags::empty()).ok()?;
        let start_time = start_time(pid).ok()?;
        let peer = Peer { pid, uid: credentials.uid.as_raw(), start_time };
        let watched = Self { peer, pidfd: Some(pidfd) };
        // The pid may have been recycled between connect and pidfd_open. The peer of an open socket is
        // alive, so a process that lives now under a pid that was the peer's then is the peer.
        (!watched.ended_within(Duration::ZERO)).then_some(watched)
    }

    /// Whether the process has ended, looking for at most this long. Blocks; for short times only.
    pub fn ended_within(&self, patience: Duration) -> bool {
        let Some(pidfd) = &self.pidfd else { return true };
        let Ok(timeout) = Timespec::try_from(patience) else { return false };
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// The descriptor can not be watched (outside of a tokio runtime).
    #[expect(deprecated, reason = "a BorrowedFd keeps the promise that the unsafe successor asks for")]
    pub async fn ended(&self) -> io::Result<()> {
        let Some(pidfd) = &self.pidfd else { return Ok(()) };
        AsyncFd::with_interest(pidfd.as_fd(), tokio::io::Interest::READABLE)?.readable().await.map(drop)
    }
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).
///
/// # Errors
/// The process is gone, or /proc is not what it should be.
pub fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    procfs::stat(&stat)
        .and_then(|(_, mut fields)| fields.nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat: no start time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_peer_of_a_socket_pair_is_this_process_and_it_lives() {
        let (one, _two) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.start_time, start_time(peer.pid).unwrap());
        assert!(!peer.watch().unwrap().ended_within(Duration::ZERO));
    }

    #[tokio::test]
    async fn the_end_of_a_peer_is_seen_also_when_it_came_before_anybody_watched() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let peer = Peer { pid: child.id(), uid: 0, start_time: start_time(child.id()).unwrap() };
        let recycled = Peer { start_time: peer.start_time + 1, ..peer };
        assert!(recycled.watch().unwrap().ended_within(Duration::ZERO));
        let watched = peer.watch().unwrap();
        assert!(!watched.ended_within(Duration::ZERO));
        child.kill().unwrap();
        watched.ended().await.unwrap();
        child.wait().unwrap();
        assert!(peer.watch().unwrap().ended_within(Duration::ZERO));
    }

    #[test]
    fn a_pid_that_is_not_there_has_no_start_time() {
        assert!(start_time(u32::MAX).is_err());
    }
}
