//! Signals by name or number, as operators write them: `TERM`, `SIGKILL`, `9`.

use crate::Problem;

/// A signal of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its number, 1 to 31.
    pub number: i32,
    /// Its name, without `SIG`.
    pub name: &'static str,
}

/// The numbers of Linux on x86-64 and arm64, from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    /// What a process gets when it is asked to end.
    pub const TERM: Self = Self { number: 15, name: "TERM" };

    /// What ends a process unasked.
    pub const KILL: Self = Self { number: 9, name: "KILL" };

    /// Reads a name (any case, with or without `SIG`) or a number; the empty text is TERM. `field` is the
    /// text's path in the request, for the problem of an unknown one.
    pub fn parse(field: &str, text: &str) -> Result<Self, Problem> {
        if text.is_empty() {
            return Ok(Self::TERM);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let by_number = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let index = by_number.or_else(|| NAMES.iter().position(|known| *known == name));
        index
            .and_then(|index| Some(Self { number: i32::try_from(index).ok()? + 1, name: NAMES.get(index)? }))
            .ok_or_else(|| {
                Problem::invalid(field, format_args!("`{text}` is no signal"))
                    .hint("name one like TERM, KILL or HUP, or give its number, 1 to 31")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_the_signals_of_this_system() {
        for (text, number, name) in [
            ("TERM", 15, "TERM"),
            ("sigkill", 9, "KILL"),
            ("1", 1, "HUP"),
            ("SIGSYS", 31, "SYS"),
            ("", 15, "TERM"),
        ] {
            assert_eq!(Signal::parse("signal", text), Ok(Signal { number, name }), "{text}");
        }
        let stop = Signal::parse("signal", "STOP").map(|signal| signal.number);
        assert_eq!(stop, Ok(rustix::process::Signal::STOP.as_raw()));
    }

    #[test]
    fn what_is_no_signal_is_refused_by_name() {
        for text in ["0", "32", "-9", "SIG", "MEOW", "9 ", "99999999999999999999"] {
            let problem = Signal::parse("action.kill.signal", text).expect_err(text);
            assert!(
                problem.message.contains("action.kill.signal") && problem.message.contains(text),
                "{problem}"
            );
        }
    }
}
