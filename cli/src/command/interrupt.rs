//! Ctrl-C, and what else asks a command to end: SIGTERM, a closed terminal.

use std::io;

use chaos_kitty::ending::Endings;

/// Exit code of a command that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// The signals by which a person or a service manager ends a program, taken over from their default.
#[derive(Debug)]
pub(crate) struct Interrupts(Endings);

impl Interrupts {
    /// From now on none of them ends the program by itself.
    pub(crate) fn take_over() -> io::Result<Self> {
        Endings::take_over().map(Self)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        self.0.end().await;
    }
}
