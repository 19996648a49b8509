//! A child's side of its pipe: blocked until it is released, over when the pipe is.

use std::{io, time::Duration};

use chaos_kitty_guard::clock::boot_time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a child is told when it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// When the hold begins, on CLOCK_BOOTTIME.
    pub(super) start: Duration,
    /// How long it is.
    pub(super) hold: Duration,
}

impl Release {
    /// As a line.
    pub(super) fn line(&self) -> String {
        format!("{} {}\n", self.start.as_nanos(), self.hold.as_nanos())
    }

    fn parse(line: &str) -> Option<Self> {
        let (start, hold) = line.trim_end().split_once(' ')?;
        let nanos = |text: &str| Some(Duration::from_nanos(text.parse().ok()?));
        Some(Self { start: nanos(start)?, hold: nanos(hold)? })
    }
}

/// Blocks until it is released. `None`: the pipe ended first.
///
/// # Errors
/// What came is no release.
pub(super) fn wait() -> io::Result<Option<Release>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let release = std::str::from_utf8(&line).ok().and_then(Release::parse);
    release.map(Some).ok_or_else(|| io::Error::other("that is no release"))
}

/// Whether the pipe has ended by `until` (CLOCK_BOOTTIME), looking no longer than to then.
pub(super) fn pipe_ended(until: Duration) -> bool {
    loop {
        let left = until.saturating_sub(boot_time());
        let Ok(timeout) = Timespec::try_from(left) else { return true };
        let stdin = io::stdin();
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            // Nothing more is ever sent, so that whatever is there is the end.
            Ok(ready) if ready > 0 => return true,
            Ok(_) if boot_time() >= until => return false,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_as_it_was_written() {
        let release = Release { start: Duration::from_nanos(7), hold: Duration::from_secs(3) };
        assert_eq!(Release::parse(&release.line()), Some(release));
        assert_eq!(Release::parse("now"), None);
    }
}
