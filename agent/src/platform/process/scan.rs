//! What /proc says of the processes of this host.

use std::{collections::HashMap, fs};

/// A process as it was when it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub pid: u32,
    pub parent: u32,
    /// In clock ticks since boot.
    pub start_time: u64,
    /// As in `/proc/PID/stat`: R, S, D, T, t, Z, X, I.
    pub state: char,
    /// At most 15 bytes.
    pub name: String,
    /// `None` where it may not be seen (another user's), and for kernel threads.
    pub exe: Option<String>,
    /// The arguments joined with spaces.
    pub command_line: String,
    /// The effective user.
    pub uid: u32,
}

/// All processes of this host, by pid. Those that end while it looks are left out. Users cost one file
/// more to read for each process; without `users` they are 0.
///
/// # Errors
/// /proc can not be listed.
pub(super) fn scan(users: bool) -> std::io::Result<HashMap<u32, Candidate>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid: u32| Some((pid, look_at(pid, users)?))).collect())
}

/// One process, if it is there.
fn look_at(pid: u32, users: bool) -> Option<Candidate> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut process = parse_stat(pid, &stat)?;
    if users {
        process.uid = effective_user(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    }
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    // An upgraded program goes on running from a file that is gone.
    process.exe = exe.map(|exe| exe.to_string_lossy().trim_end_matches(" (deleted)").to_owned());
    process.command_line = words(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).join(" ");
    Some(process)
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
fn effective_user(status: &str) -> Option<u32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    numbers.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// See proc(5). The name stands in parentheses and may hold any character, parentheses too.
fn parse_stat(pid: u32, stat: &str) -> Option<Candidate> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(open + 1..close)?.to_owned();
    let mut fields = stat.get(close + 1..)?.split_ascii_whitespace();
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
        assert_eq!(me.exe.as_deref(), std::env::current_exe().unwrap().to_str());
        assert_eq!(me.uid, rustix::process::geteuid().as_raw());
        assert_eq!(me.command_line, std::env::args().collect::<Vec<_>>().join(" "));
        assert!(environment(me.pid).iter().any(|variable| variable.starts_with("PATH=")));
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let rest = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let process = parse_stat(5, &format!("5 (a) b (c) S 1 {rest}")).unwrap();
        assert_eq!((process.name.as_str(), process.state, process.parent), ("a) b (c", 'S', 1));
        assert_eq!(process.start_time, 17);
        assert_eq!(parse_stat(5, "5 (cut"), None);
    }
}
