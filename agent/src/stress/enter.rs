//! What runs inside the namespaces of a target: `stress enter PLACE NAME ARGUMENT…` a script, `stress inside PLACE
//! PROGRAM ARGUMENT…` a program. Both wait for their release first.
//!
//! The script's bytes come over the pipe after the release, and are handed to the interpreter of its `#!` line
//! as an open file, so that nothing is written on the target and no shell sees a command line.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::ExitStatusExt as _,
    },
    process::{Child, Command, ExitCode},
};

use chaos_kitty::{Code, script::interpreter};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, Signal, kill_current_process_group, pidfd_open},
};

use super::{
    folder,
    place::{Entered, Place},
    released,
    spawn::Said,
};

/// Runs the script that comes over the pipe.
pub(super) fn script(place: &Place, name: &str, arguments: &[&str]) -> io::Result<ExitCode> {
    if released::wait()?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let script = receive()?;
    let Some((interpreter, option)) = interpreter(&script) else {
        let what = format!("{name}: its first line does not name an interpreter (#!)");
        return failed(Code::MissingDependency, what);
    };
    // Inherited by the interpreter, hence without CLOEXEC.
    let file = memfd_create(c"kitty-script", MemfdFlags::empty())?;
    File::from(file.try_clone()?).write_all(&script)?;
    let mut command = Command::new(interpreter);
    command.args(option).arg(format!("/proc/self/fd/{}", file.as_raw_fd())).args(arguments);
    run(place, command, &format!("{name}: its interpreter {interpreter}"), Part::Script)
}

/// Runs a program.
pub(super) fn program(place: &Place, program: &str, arguments: &[&str]) -> io::Result<ExitCode> {
    if released::wait()?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    if program == folder::REMOVE {
        if place.enter()? == Entered::Gone {
            return gone(place);
        }
        return over(place, &Said::Exited { code: Some(0), signal: None });
    }
    let mut command = Command::new(program);
    command.args(arguments);
    run(place, command, program, Part::Undo)
}

/// A target with mounts of its own may have had the host's folders in them, so that its folder is still there.
fn gone(place: &Place) -> io::Result<ExitCode> {
    place.folder().map_or(Ok(()), folder::remove)?;
    failed(Code::TargetGone, "the target is gone, and its namespaces too".to_owned())
}

/// What a program has to do with the folder of its script, whose path is told to both.
#[derive(Clone, Copy)]
enum Part {
    /// It is made for it.
    Script,
    /// It goes once this has ended, which puts the script back.
    Undo,
}

fn run(place: &Place, mut command: Command, what: &str, part: Part) -> io::Result<ExitCode> {
    let null = File::open("/dev/null")?;
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let environment = place.environment();
    if place.enter()? == Entered::Gone {
        return gone(place);
    }
    let folder = place.folder().and_then(match part {
        Part::Script => folder::make,
        Part::Undo => folder::find,
    });
    let command = command.env_clear().envs(environment).env("KITTY_TMP", folder.unwrap_or_default());
    let spawned = command.stdin(null).stdout(output.try_clone()?).stderr(output).spawn();
    match spawned {
        Ok(child) => {
            Said::Started.say()?;
            let said = finish(child)?;
            match part {
                Part::Script => tell(&said),
                Part::Undo => over(place, &said),
            }
        }
        Err(error) => failed(Code::MissingDependency, format!("{what}: {error}")),
    }
}

/// Removes the folder of the script that was put back, and says how that ended.
fn over(place: &Place, said: &Said) -> io::Result<ExitCode> {
    match place.folder().map_or(Ok(()), folder::remove) {
        Ok(()) => tell(said),
        Err(error) => failed(Code::Internal, format!("removing the folder of a script: {error}")),
    }
}

fn tell(said: &Said) -> io::Result<ExitCode> {
    said.say()?;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the program, or for the end of the pipe.
fn finish(mut child: Child) -> io::Result<Said> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or_else(|| io::Error::other("no pid"))?, PidfdFlags::empty())?;
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
    if watched[0].revents().is_empty() {
        // Whoever began it is gone. Its whole cgroup is ended by the guard; if that is gone too, what did not leave
        // the process group ends here, with this process.
        kill_current_process_group(Signal::KILL)?;
    }
    let status = child.wait()?;
    Ok(Said::Exited { code: status.code(), signal: status.signal() })
}

/// A line with the number of bytes, then the bytes.
fn receive() -> io::Result<Vec<u8>> {
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = Vec::new();
    while length.last() != Some(&b'\n') {
        let mut byte = [0];
        stdin.read_exact(&mut byte)?;
        length.push(byte[0]);
    }
    let length = std::str::from_utf8(&length).ok().and_then(|line| line.trim_end().parse().ok());
    let mut script = vec![0; length.ok_or_else(|| io::Error::other("that is no length"))?];
    stdin.read_exact(&mut script)?;
    Ok(script)
}

fn failed(code: Code, message: String) -> io::Result<ExitCode> {
    Said::Failed { code: code.number(), message }.say()?;
    Ok(ExitCode::FAILURE)
}
