//! `stress enter PID NAME ARGUMENT…`: runs a script inside the namespaces of a process (PID 0: in this one's).
//!
//! The script's bytes come over the pipe after the release, and are handed to the interpreter of its `#!` line
//! as an open file, so that nothing is written on the target and no shell sees a command line.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::ExitStatusExt as _,
    },
    process::{Child, Command, ExitCode},
};

use chaos_kitty::Code;
use chaos_kitty_guard::Process;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat},
    process::{Pid, PidfdFlags, chroot, fchdir, pidfd_open},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use super::{released, spawn::Said};

/// The variable that tells a script the target's main process, as the agent sees it.
const TARGET_PID: &str = "KITTY_TARGET_PID";

/// Namespaces by their names in `/proc/PID/ns`.
const NAMESPACES: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("net", ThreadNameSpaceType::NETWORK),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

pub(super) fn run(target: u32, name: &str, arguments: &[&str]) -> io::Result<ExitCode> {
    if released::wait()?.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let script = receive()?;
    let Some((interpreter, option)) = interpreter(&script) else {
        return failed(
            Code::MissingDependency,
            format!("{name}: its first line does not name an interpreter (#!)"),
        );
    };
    // Inherited by the interpreter, hence without CLOEXEC.
    let file = memfd_create(c"kitty-script", MemfdFlags::empty())?;
    File::from(file.try_clone()?).write_all(&script)?;
    let null = File::open("/dev/null")?;
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    if target > 0 {
        enter(target)?;
    }
    let spawned = Command::new(interpreter)
        .args(option)
        .arg(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env(TARGET_PID, target.to_string())
        .stdin(null)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn();
    match spawned {
        Ok(child) => {
            Said::Started.say()?;
            finish(child, &file)
        }
        Err(error) => {
            failed(Code::MissingDependency, format!("{name}: its interpreter {interpreter}: {error}"))
        }
    }
}

/// Waits for the script, or for the end of the pipe.
fn finish(mut child: Child, _script: &OwnedFd) -> io::Result<ExitCode> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pidfd_open(pid.ok_or_else(|| io::Error::other("no pid"))?, PidfdFlags::empty())?;
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    while let Err(rustix::io::Errno::INTR) = poll(&mut watched, None) {}
    if watched[0].revents().is_empty() {
        // The agent is gone. The guard ends the script's whole cgroup; this only spares it waiting.
        child.kill()?;
    }
    let status = child.wait()?;
    Said::Exited { code: status.code(), signal: status.signal() }.say()?;
    Ok(ExitCode::SUCCESS)
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

/// Moves into every namespace of a process that is not this one's, and to its root.
fn enter(target: u32) -> io::Result<()> {
    let process = Process::now(target).ok_or_else(|| io::Error::other("the target is gone"))?;
    let pidfd = process.open()?.ok_or_else(|| io::Error::other("the target is gone"))?;
    let differs = |name: &str| -> io::Result<bool> {
        Ok(fs::read_link(format!("/proc/{target}/ns/{name}"))?
            != fs::read_link(format!("/proc/self/ns/{name}"))?)
    };
    let mut others = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        if differs(name)? {
            others |= kind;
        }
    }
    let root = openat(CWD, format!("/proc/{target}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if !others.is_empty() {
        move_into_thread_name_spaces(pidfd.as_fd(), others)?;
    }
    fchdir(&root)?;
    let (here, there) = (rustix::fs::stat("/")?, rustix::fs::fstat(&root)?);
    if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
        chroot(c".")?;
    }
    Ok(())
}

/// What a `#!` line names: the program, and its one argument if there is any (execve(2)).
fn interpreter(script: &[u8]) -> Option<(&str, Option<&str>)> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let (program, option) = line.split_once([' ', '\t']).map_or((line, None), |(a, b)| (a, Some(b.trim())));
    program.starts_with('/').then_some((program, option))
}

fn failed(code: Code, message: String) -> io::Result<ExitCode> {
    Said::Failed { code: code.number(), message }.say()?;
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter(b"#!/bin/sh\nexit 0\n"), Some(("/bin/sh", None)));
        assert_eq!(interpreter(b"#! /usr/bin/env  python3 \nx"), Some(("/usr/bin/env", Some("python3"))));
        assert_eq!(interpreter(b"#!sh\n"), None);
        assert_eq!(interpreter(b"echo hello\n"), None);
        assert_eq!(interpreter(b""), None);
    }
}
