//! The agent's side of a child program: spawn it blocked, put it into place, release it.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use chaos_kitty::{Code, Problem};
use chaos_kitty_guard::{Process, clock::boot_time};
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::{SUBCOMMAND, released::Release};
use crate::host::{
    self,
    cgroup::{self, Cgroup},
    membership::{self, Membership},
};

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Executes this program as stressor in place of the running one. For those that embed this library in another
/// program than kitty-agent; the first call counts.
pub fn use_program(path: PathBuf) {
    PROGRAM.get_or_init(|| path);
}

pub(crate) fn program() -> &'static PathBuf {
    // The running program, also when its file was replaced meanwhile.
    PROGRAM.get_or_init(|| PathBuf::from("/proc/self/exe"))
}

/// The program under a name by which others find it, also when this process is gone.
///
/// # Errors
/// It is not known.
pub(crate) fn lasting_program() -> io::Result<String> {
    /// What the kernel appends to the name of a file that was replaced meanwhile: by a newer one of the same name.
    const REPLACED: &str = " (deleted)";
    let path = PROGRAM.get().filter(|path| !path.starts_with("/proc")).cloned();
    let path = path.map_or_else(std::env::current_exe, Ok)?.to_string_lossy().into_owned();
    Ok(path.strip_suffix(REPLACED).map(str::to_owned).unwrap_or(path))
}

/// What a child says on its standard output, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    /// All memory is resident.
    Resident { address: usize, took_nanos: u64 },
    /// The script runs.
    Started,
    /// The script is over, with an exit code or by a signal.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// It could not, and ends.
    Failed { code: u32, message: String },
}

impl Said {
    /// Why it could not.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::Failed { code, message } => {
                Problem::new(Code::from_number(code).unwrap_or(Code::Internal), message)
            }
            other => Problem::internal(format!("a child said {other:?} out of turn")),
        }
    }

    pub(super) fn say(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        io::stdout().write_all(&line)
    }
}

/// Why a child ends, for its agent's ears.
pub(super) fn tell_parent(error: &io::Error) {
    let _ = writeln!(io::stderr(), "{error}");
}

/// A child program. Dropped before it is released, it ends by the end of its pipe.
#[derive(Debug)]
pub(crate) struct Stressor {
    child: Child,
    /// `None`: nothing more is said to it.
    pipe: Option<ChildStdin>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    process: Process,
    /// Where it was put, and how many the out-of-memory killer had ended there before.
    place: (Vec<Membership>, u64),
}

impl Stressor {
    /// Spawns it, blocked. Its standard error is kept for [`Self::last_words`].
    pub(crate) fn spawn(arguments: &[String], stdout: Stdio) -> Result<Self, Problem> {
        let mut child = Command::new(program())
            .arg0("kitty-stress")
            .arg(SUBCOMMAND)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Problem::internal(format!("spawning a stressor: {error}")))?;
        let pipe = child.stdin.take();
        let process = child.id().and_then(Process::now);
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        match (pipe, process) {
            (Some(pipe), Some(process)) => {
                Ok(Self { child, pipe: Some(pipe), lines, process, place: (Vec::new(), 0) })
            }
            _ => Err(Problem::internal("the stressor ended at its start")),
        }
    }

    /// The child.
    pub(crate) fn process(&self) -> Process {
        self.process
    }

    /// Puts it into the cgroups of `target` that set limits, onto the cores that `target` may use, and first in
    /// line for the out-of-memory killer. Without a target (a host) it stays in the agent's cgroups.
    pub(crate) fn place(&mut self, target: Option<Process>) -> Result<(), Problem> {
        self.join(target)?;
        let place =
            membership::of(self.process.pid).map_err(|_| Problem::internal("the stressor is gone"))?;
        self.place = (place.clone(), membership::oom_kills(&place));
        Ok(())
    }

    fn join(&self, target: Option<Process>) -> Result<(), Problem> {
        let pid = self.process.pid;
        fs::write(format!("/proc/{pid}/oom_score_adj"), "1000")
            .map_err(|error| Problem::internal(format!("oom_score_adj of the stressor: {error}")))?;
        let Some(target) = target else { return Ok(()) };
        let gone = || Problem::new(Code::TargetGone, format!("process {target} is gone"));
        for cgroup in places(target)? {
            cgroup.attach(pid).map_err(|error| {
                Problem::new(Code::Unsupported, format!("joining {}: {error}", cgroup.folder.display()))
                    .hint("the agent must be allowed to write to the target's cgroup: run it as root")
            })?;
        }
        // As part of a cpuset it has lost the cores of its own.
        let pid_of = |process: Process| rustix::process::Pid::from_raw(i32::try_from(process.pid).ok()?);
        let cores = sched_getaffinity(pid_of(target)).map_err(|_| gone())?;
        let _ = sched_setaffinity(pid_of(self.process), &cores);
        // Whatever was read above by pid is of the target only if it is still there.
        if target.exists() { Ok(()) } else { Err(gone()) }
    }

    /// Lets it go: it counts `hold` from now. Returns now, on CLOCK_BOOTTIME.
    pub(crate) async fn release(&mut self, hold: Duration) -> Result<Duration, Problem> {
        let start = boot_time();
        let line = Release { start, hold }.line();
        self.say(line.as_bytes()).await?;
        Ok(start)
    }

    /// The bytes of a script, after the release.
    pub(crate) async fn send(&mut self, script: &[u8]) -> Result<(), Problem> {
        let head = format!("{}\n", script.len());
        self.say(head.as_bytes()).await?;
        self.say(script).await
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let said = match &mut self.pipe {
            Some(pipe) => pipe.write_all(bytes).await.is_ok(),
            None => false,
        };
        if said { Ok(()) } else { Err(self.last_words().await) }
    }

    /// Says nothing more, upon which it ends, released or not.
    pub(crate) fn hang_up(&mut self) {
        self.pipe = None;
    }

    /// The next thing that a child says, if its standard output is a pipe. Cancellation safe.
    pub(crate) async fn hear(&mut self) -> Result<Said, Problem> {
        let line = match &mut self.lines {
            Some(lines) => lines.next_line().await.ok().flatten(),
            None => None,
        };
        match line.and_then(|line| serde_json::from_str(&line).ok()) {
            Some(said) => Ok(said),
            None => Err(self.last_words().await),
        }
    }

    /// Its standard error, which then is not among its last words.
    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Why a child ended that had been released and was not told to end.
    pub(crate) fn broke_off(&self, status: &ExitStatus) -> Problem {
        let what = format!("stressor {} was ended before its time ({status})", self.process);
        let (place, before) = &self.place;
        if membership::oom_kills(place) > *before {
            return Problem::new(Code::TargetLimit, format!("{what}, by the out-of-memory killer"))
                .hint("ask for less memory: the stressor is the first to go");
        }
        Problem::new(Code::BrokeOff, what)
            .hint("look who ended it: a person, another tool, a limit of the host")
    }

    /// How a child ended that should not have.
    pub(crate) async fn last_words(&mut self) -> Problem {
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            const MOST: u64 = 4096;
            let _ = stderr.take(MOST).read_to_end(&mut words).await;
        }
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        let what = format!(
            "the stressor ended before it took effect ({status}) {}",
            String::from_utf8_lossy(&words).trim_end()
        );
        Problem::new(Code::TargetLimit, what.trim_end().to_owned())
            .hint("a limit of the target's cgroup or the out-of-memory killer may have ended it")
    }
}

/// The cgroups of a target that set limits, and that this process is not in.
///
/// # Errors
/// The target is gone.
pub(crate) fn places(target: Process) -> Result<Vec<Cgroup>, Problem> {
    cgroup::limiting(target)
        .map_err(|error| host::unseen(format_args!("the cgroups of process {target}"), error))
}
