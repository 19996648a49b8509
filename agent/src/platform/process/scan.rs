//! What /proc says of the processes of this host.

use std::{collections::HashMap, ffi::OsStr, fs, io, os::unix::ffi::OsStrExt, path::PathBuf};

use chaos_kitty::procfs;
use chaos_kitty_guard::process::there;

use crate::host::process::pids;

/// A process as it was when it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub pid: u32,
    pub parent: u32,
    /// In clock ticks since boot.
    pub start_time: u64,
    /// As in `/proc/PID/stat`: R, S, D, T, t, Z, X, I.
    pub state: char,
    /// At most 15 bytes, of any value but 0.
    pub name: Vec<u8>,
    /// `None` where it may not be seen (another user's), and for kernel threads.
    pub exe: Option<PathBuf>,
    /// The arguments joined with spaces, for regular expressions: U+FFFD stands for what is no UTF-8.
    pub command_line: String,
    /// The effective user.
    pub uid: u32,
}

/// All processes of this host, by pid. Those that end while it looks are left out, and those of others that this user
/// may not look at (`hidepid`). Users cost one file more to read for each process; without `users` they are 0.
///
/// # Errors
/// /proc cannot be listed or read, e.g. out of descriptors.
pub(super) fn scan(users: bool) -> io::Result<HashMap<u32, Candidate>> {
    let mut found = HashMap::new();
    for pid in pids()? {
        match look_at(pid, users) {
            Ok(process) => found.extend(process.map(|process| (pid, process))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("process {pid}: {error}"))),
        }
    }
    Ok(found)
}

/// One process, if it is there.
fn look_at(pid: u32, users: bool) -> io::Result<Option<Candidate>> {
    let Some(stat) = there(fs::read(format!("/proc/{pid}/stat")))? else { return Ok(None) };
    let unknown = |file| io::Error::new(io::ErrorKind::InvalidData, format!("{file} has an unknown format"));
    let mut process = parse_stat(pid, &stat).ok_or_else(|| unknown("stat"))?;
    if users {
        let Some(status) = there(fs::read(format!("/proc/{pid}/status")))? else { return Ok(None) };
        process.uid = effective_user(&status).ok_or_else(|| unknown("status"))?;
    }
    process.exe = match there(fs::read_link(format!("/proc/{pid}/exe"))) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        exe => exe?.map(without_mark),
    };
    let command_line = there(fs::read(format!("/proc/{pid}/cmdline")))?;
    process.command_line = words(&command_line.unwrap_or_default()).join(" ");
    Ok(Some(process))
}

/// An upgraded program goes on running from a file that is gone.
fn without_mark(exe: PathBuf) -> PathBuf {
    match exe.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => OsStr::from_bytes(path).into(),
        None => exe,
    }
}

/// The environment that a process was started with, as `NAME=VALUE`. Empty where it may not be read.
pub(super) fn environment(pid: u32) -> Vec<String> {
    words(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
}

fn words(zero_terminated: &[u8]) -> Vec<String> {
    let trimmed = zero_terminated.strip_suffix(b"\0").unwrap_or(zero_terminated);
    trimmed.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The second number of `Uid:`. The owner of `/proc/PID` would be root for whoever changed its user.
fn effective_user(status: &[u8]) -> Option<u32> {
    procfs::field(status, "Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn parse_stat(pid: u32, stat: &[u8]) -> Option<Candidate> {
    let (name, mut fields) = procfs::stat(stat)?;
    let name = name.to_vec();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(Candidate { pid, parent, start_time, state, name, ..Candidate::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let all = scan(true).unwrap();
        let me = &all[&std::process::id()];
        assert_eq!(me.start_time, chaos_kitty::peer::start_time(me.pid).unwrap());
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert_eq!(me.exe, std::env::current_exe().ok());
        assert_eq!(me.uid, rustix::process::geteuid().as_raw());
        assert_eq!(me.command_line, std::env::args().collect::<Vec<_>>().join(" "));
        assert!(environment(me.pid).iter().any(|variable| variable.starts_with("PATH=")));
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let rest = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let process = parse_stat(5, format!("5 (a) b (c\u{142}) S 1 {rest}").as_bytes()).unwrap();
        assert_eq!((&*process.name, process.state, process.parent), ("a) b (c\u{142}".as_bytes(), 'S', 1));
        assert_eq!(process.start_time, 17);
        assert_eq!(parse_stat(5, b"5 (cut"), None);
    }
}
