//! The worker signals itself: no pid that anybody claims is ever used.

use std::{fs, thread, time::Duration};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    procfs::field,
    signal::Signal,
    v1::{KillResult, action_result::Kind as Figures, evidence::Phase},
};
use rustix::process::{Signal as Raw, getpid, kill_process};

use super::{Outcome, Scene};
use crate::sys;

/// Longest wait for the server to know that the order was accepted, before the process may be gone.
const ACKNOWLEDGE: Duration = Duration::from_millis(500);
/// How long a process that was signalled looks whether it is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What the process does with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Handled,
    Ignored,
    Ends,
    Passes,
}

/// What the process does with the signal; one that it ignores is no fault.
pub(crate) fn check(signal: Signal) -> Result<Disposition, Problem> {
    let status = fs::read("/proc/self/status")
        .map_err(|error| Problem::internal(format!("reading /proc/self/status: {error}")))?;
    match disposition(&status, signal) {
        Disposition::Ignored => {
            let what = format!("the process ignores SIG{}", signal.name);
            Err(Problem::new(Code::AlreadyInState, what).hint("send another signal, e.g. KILL"))
        }
        disposition => Ok(disposition),
    }
}

/// Signals the process itself. Comes back only if the signal did not end it.
pub(crate) fn kill(signal: Signal, scene: &Scene<'_>) -> Result<Outcome, Problem> {
    let disposition = check(signal)?;
    let name = signal.name;
    let raw = Raw::from_named_raw(signal.number).ok_or_else(|| Problem::internal(format!("no SIG{name}")))?;
    scene.hold.wait_acknowledged(ACKNOWLEDGE);
    if let Some(reason) = scene.hold.ended() {
        let what = format!("SIG{name} was not sent: the order was taken back ({reason:?})");
        return Err(Problem::new(Code::OrderTooLate, what));
    }
    kill_process(getpid(), raw)
        .map_err(|error| Problem::internal(format!("sending SIG{name} to this very process: {error}")))?;
    if disposition == Disposition::Ends {
        outlive(signal);
    }
    let figures = KillResult { signal: name.to_owned(), pids: vec![std::process::id()], ended: false };
    Ok(Outcome::of(Figures::Kill(figures)).seen(Phase::After, "disposition", format!("{disposition:?}")))
}

/// Waits for the end. The first process of a pid namespace is immune to its own signals, so it exits as a
/// shell would report the signal.
fn outlive(signal: Signal) {
    if std::process::id() == 1 {
        sys::exit_now(128 + signal.number);
    }
    let until = boot_time() + LOOK;
    while boot_time() < until {
        thread::sleep(LOOK / 20);
    }
}

fn disposition(status: &[u8], signal: Signal) -> Disposition {
    let bit = 1u64 << (signal.number - 1);
    let set = |name| {
        let mask = field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.unwrap_or_default() & bit != 0
    };
    match signal.name {
        _ if set("SigCgt") => Disposition::Handled,
        _ if set("SigIgn") => Disposition::Ignored,
        "CHLD" | "CONT" | "URG" | "WINCH" => Disposition::Passes,
        _ => Disposition::Ends,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_does_is_read_from_the_kernels_masks() {
        let status = b"Name:\t\xc5\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004002\n";
        let of = |name| disposition(status, Signal::parse("signal", name).unwrap());
        assert_eq!(of("PIPE"), Disposition::Ignored);
        assert_eq!(of("TERM"), Disposition::Handled);
        assert_eq!(of("INT"), Disposition::Handled);
        assert_eq!(of("KILL"), Disposition::Ends);
        assert_eq!(of("WINCH"), Disposition::Passes);
    }
}
