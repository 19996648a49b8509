//! A process by pid and start time, so that nothing ever lands on a recycled pid.

use std::{fmt, fs, io, os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// One incarnation of a pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// In our pid namespace.
    pub pid: u32,
    /// In clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)).
    pub start_time: u64,
}

impl Process {
    /// The process that has this pid now. `None`: there is none.
    ///
    /// # Errors
    /// See [`Stat::read`].
    pub fn find(pid: u32) -> io::Result<Option<Self>> {
        Ok(Stat::read(pid)?.map(|stat| Self { pid, start_time: stat.start_time }))
    }

    /// The process that has this pid now. `None`: there is none, or it cannot be looked at.
    pub fn now(pid: u32) -> Option<Self> {
        Self::find(pid).ok().flatten()
    }

    /// A descriptor of exactly this incarnation. `None`: it is gone.
    ///
    /// # Errors
    /// The kernel refuses for another reason than that the process is gone, e.g. out of descriptors.
    pub fn open(&self) -> Result<Option<OwnedFd>, Errno> {
        let Some(descriptor) = pidfd(self.pid)? else { return Ok(None) };
        // Read after opening: if the pid bears our start time now, the descriptor is of our incarnation.
        let stat = self.look().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(stat.map(|_| descriptor))
    }

    /// Sends a signal to exactly this incarnation. False: it is gone.
    ///
    /// # Errors
    /// It is there and must not be signalled, or the kernel refuses otherwise.
    pub fn signal(&self, signal: Signal) -> Result<bool, Errno> {
        let Some(descriptor) = self.open()? else { return Ok(false) };
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What /proc says of this incarnation. `None`: it is gone.
    ///
    /// # Errors
    /// See [`Stat::read`].
    pub fn look(&self) -> io::Result<Option<Stat>> {
        Ok(Stat::read(self.pid)?.filter(|stat| stat.start_time == self.start_time))
    }

    /// The same for words and figures, where nothing is decided. `None`: it is gone, or cannot be looked at.
    pub fn stat(&self) -> Option<Stat> {
        self.look().ok().flatten()
    }

    /// Whether its pid still names it; a zombie counts, and so does one that cannot be looked at.
    pub fn exists(&self) -> bool {
        !matches!(self.look(), Ok(None))
    }

    /// Whether it has ended; a zombie has.
    pub fn has_ended(&self) -> bool {
        match self.open() {
            Ok(None) => true,
            Ok(Some(descriptor)) => ended_within(&descriptor, Duration::ZERO),
            Err(_) => match self.look() {
                Ok(stat) => stat.is_none_or(|stat| matches!(stat.state, 'Z' | 'X')),
                Err(_) => false,
            },
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// `None`: there is no process of that pid.
fn pidfd(pid: u32) -> Result<Option<OwnedFd>, Errno> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the process behind a pidfd has ended, looking for at most this long. Blocks.
pub fn ended_within(descriptor: &OwnedFd, patience: Duration) -> bool {
    let Ok(timeout) = Timespec::try_from(patience) else { return false };
    let mut watched = [PollFd::new(descriptor, PollFlags::IN)];
    poll(&mut watched, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// 'R', 'S', 'D', 'T' (stopped), 't' (traced), 'Z', …
    pub state: char,
    /// Pid of the parent.
    pub parent: u32,
    /// In clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// `None`: there is no such process.
    ///
    /// # Errors
    /// It is there and cannot be looked at (`hidepid`), or /proc cannot be read, e.g. out of descriptors.
    pub fn read(pid: u32) -> io::Result<Option<Self>> {
        let path = format!("/proc/{pid}/stat");
        let Some(stat) = there(fs::read(&path))? else {
            // With hidepid=2 the processes of others are not shown at all; the kernel still knows their pids.
            return match pidfd(pid)? {
                Some(descriptor) if !ended_within(&descriptor, Duration::ZERO) => hidden(pid, &path),
                _ => Ok(None),
            };
        };
        Self::parse(&stat).map(Some).ok_or_else(|| unknown_format(&path))
    }

    /// The command may hold any byte; what follows its last parenthesis is regular.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            start_time: fields.nth(17)?.parse().ok()?,
        })
    }
}

/// It may have begun between the two looks.
fn hidden(pid: u32, path: &str) -> io::Result<Option<Stat>> {
    match there(fs::read(path))? {
        Some(stat) => Stat::parse(&stat).map(Some).ok_or_else(|| unknown_format(path)),
        None => {
            let what = format!("process {pid} is there, and /proc does not show it (hidepid)");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
        }
    }
}

fn unknown_format(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} has an unknown format"))
}

/// What was read of a process. `None`: it is gone. Everything else that can go wrong does not say so.
///
/// # Errors
/// It cannot be read though it may be there.
pub fn there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files of a process that has ended are not there, or fail with ESRCH where they are open already.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = b"7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'S', parent: 3, start_time: 12345 }));
    }

    #[test]
    fn a_command_may_hold_any_byte() {
        for byte in 0x01..=0xff {
            let mut line = b"7 (".to_vec();
            line.extend([byte, b')', b' ', byte]);
            line.extend(b") T 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1\n");
            assert_eq!(
                Stat::parse(&line),
                Some(Stat { state: 'T', parent: 3, start_time: 12345 }),
                "{byte:#x}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_gone() {
        let refused = |errno: Errno| there::<()>(Err(errno.into()));
        for errno in [Errno::ACCESS, Errno::PERM, Errno::IO, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(refused(errno).is_err(), "{errno}");
        }
        assert!(refused(Errno::NOENT).unwrap().is_none() && refused(Errno::SRCH).unwrap().is_none());
    }

    #[test]
    fn another_incarnation_of_a_pid_gets_no_signal() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let process = Process::now(child.id()).unwrap();
        let earlier = Process { start_time: process.start_time - 1, ..process };
        assert_eq!(earlier.signal(Signal::KILL), Ok(false));
        assert!(earlier.has_ended() && !process.has_ended());
        assert_eq!(process.signal(Signal::KILL), Ok(true));
        child.wait().unwrap();
        assert_eq!(process.signal(Signal::KILL), Ok(false));
        assert!(process.has_ended());
    }
}
