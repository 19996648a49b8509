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
    let late = match ends_within(&child, limit) {
        Ok(true) => None,
        Ok(false) => {
            let what = format!("{program} did not end within {limit:?}");
            Some(io::Error::new(io::ErrorKind::TimedOut, what))
        }
        Err(error) => Some(io::Error::new(error.kind(), format!("watching {program}: {error}"))),
    };
    if let Some(error) = late {
        child.kill()?;
        child.wait()?;
        return Err(error);
    }
    let status = child.wait()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{program}: {status}: {}", complaint(child))))
    }
}

/// A child that was not waited for yet has its pid still.
fn ends_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let process = Process::find(child.id())?.map(|process| process.open()).transpose()?.flatten();
    Ok(process.is_none_or(|descriptor| process::ended_within(&descriptor, limit)))
}

fn complaint(child: Child) -> String {
    let mut text = Vec::new();
    let read = child.stderr.map(|stderr| stderr.take(COMPLAINT_BYTES).read_to_end(&mut text));
    drop(read);
    String::from_utf8_lossy(&text).trim().to_owned()
}
