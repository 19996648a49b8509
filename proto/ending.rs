//! The signals by which a person or a service manager ends a program: SIGTERM, SIGINT and SIGHUP.

use std::{env, fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a program was told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To end.
    End,
    /// To read its files again: SIGHUP, where a service manager runs it.
    Reload,
}

/// The signals, taken over from their default.
#[derive(Debug)]
pub struct Endings {
    terminate: Signal,
    interrupt: Signal,
    /// `None`: it was ignored when the program started (`nohup`), and stays so.
    hangup: Option<Signal>,
    hangup_says: Told,
}

impl Endings {
    /// From now on none of them ends the program by itself. A SIGHUP is a closed terminal, so it ends too.
    ///
    /// # Errors
    /// The system does not let them be waited for.
    pub fn take_over() -> io::Result<Self> {
        let hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
            hangup_says: Told::End,
        })
    }

    /// The same, for a program that can read its files again: where a service manager runs it, a SIGHUP asks for that.
    ///
    /// # Errors
    /// As [`Self::take_over`].
    pub fn of_a_service() -> io::Result<Self> {
        let managed = env::var_os("NOTIFY_SOCKET").is_some_and(|value| !value.is_empty());
        let hangup_says = if managed { Told::Reload } else { Told::End };
        Ok(Self { hangup_says, ..Self::take_over()? })
    }

    /// Waits for the next one. Nothing is lost when the call is dropped.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            Some(()) = received(self.hangup.as_mut()) => self.hangup_says,
        }
    }

    /// Waits for the next one that asks to end.
    pub async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

async fn received(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether this program was started with SIGHUP ignored.
fn ignores_hangup() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status) & 1 == 1)
}

/// The signals that a process ignores, by proc(5): number 1 is the lowest bit.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Sent, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn a_closed_terminal_ends_a_program() {
        let mut endings = Endings::take_over().unwrap();
        kill_process(getpid(), Sent::HUP).unwrap();
        assert_eq!(endings.next().await, Told::End);
    }

    #[test]
    fn an_ignored_hangup_is_seen_in_the_status() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n") & 1, 1);
        assert_eq!(ignored("SigIgn:\t0000000000001000\n") & 1, 0);
        assert_eq!(ignored(""), 0);
    }
}
