//! Programs that an undo runs: by argv, without a shell, with a time limit.

use std::{
    io::{self, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::process::{self, Process};

/// Of the program's complaint, what a person gets to see.
const COMPLAINT_BYTES: u64 = 1024;

/// Runs a program to its end. Blocks.
///
/// # Errors
/// It can not be started, exits with another status than 0, or is killed after `limit`.
pub(crate) fn run(argv: &[String], limit: Duration) -> io::Result<()> {
    let [program, arguments @ ..] = argv else { return Err(io::Error::other("no program to run")) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    if !ends_within(&child, limit) {
        child.kill()?;
        child.wait()?;
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{program} did not end within {limit:?}"),
        ));
    }
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{program}: {status}: {}", complaint(child))))
    }
}

fn ends_within(child: &Child, limit: Duration) -> bool {
    let process = Process::now(child.id());
    // A child that was not waited for yet has its pid still.
    process
        .and_then(|process| process.open().ok().flatten())
        .is_none_or(|fd| process::ended_within(&fd, limit))
}

fn complaint(child: Child) -> String {
    let mut text = Vec::new();
    let read = child.stderr.map(|stderr| stderr.take(COMPLAINT_BYTES).read_to_end(&mut text));
    drop(read);
    String::from_utf8_lossy(&text).trim().to_owned()
}
