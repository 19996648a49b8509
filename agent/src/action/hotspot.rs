//! The attach protocol of the HotSpot virtual machine: what `jcmd` does, without a JDK on either side.
//!
//! A file `.attach_pidN` and SIGQUIT make the machine listen on `.java_pidN`; there a request is a version, a
//! command and three arguments, each ended by a zero byte, and the answer a number, a newline and text.
//! N is the machine's pid in its own pid namespace.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    procfs::{field, lines},
};
use chaos_kitty_guard::Process;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::hsperf;
use crate::host;

/// How long the machine may take to listen.
const ATTACH_LIMIT: Duration = Duration::from_secs(5);

/// How long a command may take; a collection of a large heap takes its time.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer that is read.
const ANSWER_BYTES: u64 = 1 << 20;

/// Its library, as the last word of a line of `/proc/PID/maps`.
const LIBRARY: &[u8] = b"/libjvm.so";

/// Whether a process is a HotSpot machine, as far as its mappings may be seen.
pub(super) fn is_machine(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/maps")).is_ok_and(|maps| lines(&maps).any(|line| line.ends_with(LIBRARY)))
}

/// A virtual machine that can be talked to.
#[derive(Debug)]
pub(super) struct HotSpot {
    process: Process,
    uid: u32,
    /// Its pid in its own namespace.
    inner_pid: u32,
}

/// A heap as the machine describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heap {
    /// `None`: the machine does not count (-XX:-UsePerfData).
    pub(super) collections: Option<u64>,
    /// Bytes in use.
    pub(super) used: u64,
}

impl HotSpot {
    /// Looks whether it would listen: SIGQUIT ends a machine that was started with -Xrs.
    pub(super) fn of(process: Process) -> Result<Self, Problem> {
        let status = fs::read(format!("/proc/{process}/status"))
            .map_err(|error| host::unseen(format_args!("process {process}"), error))?;
        let Some((uid, inner_pid, catches)) = parse_status(&status) else {
            return Err(Problem::internal(format!("/proc/{process}/status is not understood")));
        };
        let machine = Self { process, uid, inner_pid };
        if !catches {
            let what = format!("process {process} does not catch SIGQUIT, which would end it");
            return Err(Problem::new(Code::Unsupported, what)
                .hint("it was started with -Xrs; start it without, or use the worker SDK in it"));
        }
        Ok(machine)
    }

    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Makes it listen.
    pub(super) async fn attach(&self) -> Result<(), Problem> {
        if self.listens() {
            return Ok(());
        }
        let _file = self.leave_note()?;
        let sent =
            self.process.signal(Signal::QUIT).map_err(|error| self.failed("SIGQUIT", &error.into()))?;
        if !sent {
            return Err(Problem::new(Code::TargetGone, format!("process {} is gone", self.process)));
        }
        let listening = async {
            while !self.listens() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(ATTACH_LIMIT, listening).await.map_err(|_| {
            let what = format!("process {} did not open its attach socket in {ATTACH_LIMIT:?}", self.process);
            Problem::new(Code::Unsupported, what)
                .hint("it was started with -XX:+DisableAttachMechanism, or it hangs")
        })
    }

    /// Runs its collector. What it says to that.
    pub(super) async fn collect(&self) -> Result<String, Problem> {
        self.ask("GC.run").await
    }

    /// Looks at its heap.
    pub(super) async fn heap(&self) -> Result<Heap, Problem> {
        let used = used(&self.ask("GC.heap_info").await?);
        Ok(Heap { collections: self.counters().and_then(|file| hsperf::collections(&file)), used })
    }

    /// The machine's own counters, if it keeps any. Anybody may put a file into /tmp.
    fn counters(&self) -> Option<Vec<u8>> {
        let folders = fs::read_dir(format!("/proc/{}/root/tmp", self.process)).ok()?.flatten();
        let own = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with("hsperfdata_"));
        let mut files = own.map(|folder| folder.path().join(self.inner_pid.to_string()));
        let is_own = |path: &PathBuf| {
            fs::symlink_metadata(path)
                .is_ok_and(|file| file.is_file() && file.uid() == self.uid && file.len() <= ANSWER_BYTES)
        };
        fs::read(files.find(is_own)?).ok()
    }

    async fn ask(&self, command: &str) -> Result<String, Problem> {
        let exchange = async {
            let mut socket = UnixStream::connect(self.socket()).await?;
            socket.write_all(format!("1\0jcmd\0{command}\0\0\0").as_bytes()).await?;
            let mut answer = Vec::new();
            socket.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            io::Result::Ok(answer)
        };
        let answer = timeout(COMMAND_LIMIT, exchange).await.map_err(|_| {
            let what = format!("process {} did not answer {command} in {COMMAND_LIMIT:?}", self.process);
            Problem::new(Code::NoAnswer, what)
        })?;
        let answer = answer.map_err(|error| self.failed(command, &error))?;
        match answer.split_once('\n') {
            Some(("0", said)) => Ok(said.to_owned()),
            _ => Err(self.failed(command, &io::Error::other(answer.trim().to_owned()))),
        }
    }

    fn socket(&self) -> PathBuf {
        format!("/proc/{}/root/tmp/.java_pid{}", self.process, self.inner_pid).into()
    }

    /// Whether its socket is there, and its own. Anybody may put a file into /tmp.
    fn listens(&self) -> bool {
        self.process.exists()
            && fs::symlink_metadata(self.socket())
                .is_ok_and(|socket| socket.file_type().is_socket() && socket.uid() == self.uid)
    }

    /// The file that tells the machine that SIGQUIT is for attaching, and not for a thread dump: in its working
    /// directory, or in its /tmp. It is removed when dropped.
    fn leave_note(&self) -> Result<Note, Problem> {
        let name = format!(".attach_pid{}", self.inner_pid);
        let folders = ["cwd", "root/tmp"].map(|folder| format!("/proc/{}/{folder}/{name}", self.process));
        let mut last = io::Error::other("no folder");
        for path in folders.map(PathBuf::from) {
            match File::options().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(_) => return Ok(Note(path)),
                // Left by one that was killed; the machine does not mind.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Note(path)),
                Err(error) => last = error,
            }
        }
        Err(self.failed("the attach file", &last))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Problem {
        let message = format!("attaching to process {}: {what}: {error}", self.process);
        let code = match error.kind() {
            _ if !self.process.exists() => Code::TargetGone,
            _ => Code::Unsupported,
        };
        Problem::new(code, message).hint("the agent must be root or run as the user of the virtual machine")
    }
}

#[derive(Debug)]
struct Note(PathBuf);

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Effective user, innermost pid, and whether it catches SIGQUIT.
fn parse_status(status: &[u8]) -> Option<(u32, u32, bool)> {
    let field = |name| field(status, name);
    let uid = field("Uid")?.split_whitespace().nth(1)?.parse().ok()?;
    let inner_pid = field("NSpid")?.split_whitespace().last()?.parse().ok()?;
    let caught = u64::from_str_radix(field("SigCgt")?, 16).ok()?;
    let bit = 1 << (Signal::QUIT.as_raw() - 1);
    Some((uid, inner_pid, caught & bit != 0))
}

/// The sum over all parts of the heap in what `GC.heap_info` says, in bytes.
fn used(info: &str) -> u64 {
    let parts = info.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("Metaspace") && !line.starts_with("class space")
    });
    parts.filter_map(used_of_part).sum()
}

/// `… used 1234K …`
fn used_of_part(line: &str) -> Option<u64> {
    let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
    words.find(|word| *word == "used")?;
    let size = words.next()?;
    let digits = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &size[digits.len()..] {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    digits.parse::<u64>().ok()?.checked_shl(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collectors_heap_is_summed_up() {
        let g1 = " garbage-first heap   total 262144K, used 2048K [0x1, 0x2)\n  region size 1024K, 3 young\n \
                  Metaspace       used 90K, committed 128K\n  class space    used 5K\n";
        assert_eq!(used(g1), 2048 << 10);
        let serial = " def new generation   total 9K, used 3K [\n  eden space 8K,  10% used [0x1\n \
                      tenured generation   total 9K, used 4K [\n";
        assert_eq!(used(serial), 7 << 10);
        assert_eq!(used(" ZHeap           used 12M, capacity 64M, max capacity 100M\n"), 12 << 20);
    }

    #[test]
    fn a_status_tells_user_inner_pid_and_whether_sigquit_is_caught() {
        let status = |caught| format!("Name:\tjava\nUid:\t0\t33\t0\t0\nNSpid:\t4711\t1\nSigCgt:\t{caught}\n");
        assert_eq!(parse_status(status("2000000181005ccf").as_bytes()), Some((33, 1, true)));
        assert_eq!(parse_status(status("0000000000000ccb").as_bytes()), Some((33, 1, false)));
    }
}
