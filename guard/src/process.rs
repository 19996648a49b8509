//! A process by pid and start time, so that nothing ever lands on a recycled pid.

use std::{fmt, fs, os::fd::OwnedFd, time::Duration};

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
    pub fn now(pid: u32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, start_time: stat.start_time })
    }

    /// A descriptor of exactly this incarnation. `None`: it is gone.
    ///
    /// # Errors
    /// The kernel refuses for another reason than that the process is gone, e.g. out of descriptors.
    pub fn open(&self) -> Result<Option<OwnedFd>, Errno> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Read after opening: if the pid bears our start time now, the descriptor is of our incarnation.
        Ok(self.exists().then_some(descriptor))
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
    pub fn stat(&self) -> Option<Stat> {
        Stat::read(self.pid).filter(|stat| stat.start_time == self.start_time)
    }

    /// Whether its pid still names it; a zombie counts.
    pub fn exists(&self) -> bool {
        self.stat().is_some()
    }

    /// Whether it has ended; a zombie has.
    pub fn has_ended(&self) -> bool {
        match self.open() {
            Ok(None) => true,
            Ok(Some(descriptor)) => ended_within(&descriptor, Duration::ZERO),
            Err(_) => self.stat().is_none_or(|stat| matches!(stat.state, 'Z' | 'X')),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
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
    pub fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The command may hold spaces and parentheses; what follows the last one is regular.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            start_time: fields.nth(17)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        assert_eq!(Stat::parse(line), Some(Stat { state: 'S', parent: 3, start_time: 12345 }));
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
