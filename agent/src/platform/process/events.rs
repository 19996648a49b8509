//! Word from the kernel that processes came, changed or went: the netlink process connector. It needs
//! CAP_NET_ADMIN and the host's own pid namespace; without it, discovery looks at intervals.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send, socket_with,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// From `linux/connector.h` and `linux/cn_proc.h`.
const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const NLMSG_DONE: u16 = 3;
const HEADERS: usize = 16 + 20;
const FORK: u32 = 0x1;
const EXEC: u32 = 0x2;
const UID: u32 = 0x4;
const COMM: u32 = 0x200;
const EXIT: u32 = 0x8000_0000;

/// A subscription to process events.
#[derive(Debug)]
pub(super) struct Events {
    socket: AsyncFd<OwnedFd>,
}

impl Events {
    /// Subscribes. Needs a tokio runtime.
    ///
    /// # Errors
    /// It is not permitted, or the kernel has no process connector.
    #[expect(deprecated, reason = "an OwnedFd keeps the promise that the unsafe successor asks for")]
    pub(super) fn subscribe() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = Some(netlink::CONNECTOR);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, kind)?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, CN_IDX_PROC))?;
        send(&socket, &listen(std::process::id()), SendFlags::empty())?;
        Ok(Self { socket: AsyncFd::with_interest(socket, Interest::READABLE)? })
    }

    /// Waits until a process came, changed or went.
    ///
    /// # Errors
    /// The subscription broke.
    pub(super) async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref())) {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Forgets what has been told up to now, or much of it.
    pub(super) fn drain(&self) {
        const MOST: usize = 100_000;
        (0..MOST).take_while(|_| receive(self.socket.get_ref()).is_ok()).for_each(drop);
    }
}

/// Takes one message; whether it tells of a process (and not of a thread).
fn receive(socket: &OwnedFd) -> io::Result<bool> {
    let mut message = [0; 256];
    match recv(socket, &mut message, RecvFlags::DONTWAIT) {
        Ok((length, _)) => Ok(tells_of_a_process(&message[..length.min(message.len())])),
        // Events were lost: anything may have happened.
        Err(Errno::NOBUFS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The request to be told: a netlink header, a connector header, one word.
fn listen(pid: u32) -> Vec<u8> {
    let length = HEADERS as u32 + 4;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend([NLMSG_DONE, 0].into_iter().flat_map(u16::to_ne_bytes));
    message.extend([0, pid, CN_IDX_PROC, CN_VAL_PROC, 0, 0].into_iter().flat_map(u32::to_ne_bytes));
    message.extend([4, 0].into_iter().flat_map(u16::to_ne_bytes));
    message.extend(PROC_CN_MCAST_LISTEN.to_ne_bytes());
    message
}

/// An event is: what (4 bytes), cpu (4), timestamp (8), then pids. Of threads, pid and tgid differ.
fn tells_of_a_process(message: &[u8]) -> bool {
    let word = |index: usize| -> Option<u32> {
        let at = HEADERS + 4 * index;
        Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?))
    };
    let Some(what) = word(0) else { return false };
    match what {
        // parent pid, parent tgid, child pid, child tgid
        FORK => word(6) == word(7),
        EXEC | UID | COMM | EXIT => word(4) == word(5),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_process_that_starts_is_told_of() {
        let events =
            Events::subscribe().expect("the process connector (run as root on the host's pid namespace)");
        events.drain();
        let mut child = Command::new("true").spawn().unwrap();
        tokio::time::timeout(Duration::from_secs(10), events.changed()).await.unwrap().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn threads_and_acknowledgements_are_passed_over() {
        let event = |words: [u32; 8]| {
            let mut message = vec![0; HEADERS];
            message.extend(words.into_iter().flat_map(u32::to_ne_bytes));
            tells_of_a_process(&message)
        };
        assert!(event([FORK, 0, 0, 0, 1, 1, 9, 9]));
        assert!(!event([FORK, 0, 0, 0, 1, 1, 9, 1]), "a new thread");
        assert!(event([EXIT, 0, 0, 0, 9, 9, 0, 0]) && !event([EXIT, 0, 0, 0, 9, 1, 0, 0]));
        assert!(!event([0; 8]) && !tells_of_a_process(&[]));
    }
}
