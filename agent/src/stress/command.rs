//! `stress command MILLISECONDS PLACE PROGRAM ARGUMENT…`: runs a program on a target, in a cgroup of its own that is
//! ended with it, and no longer than it may take. For the commands of a script's header and for probes, and as the undo
//! that a guard carries out with the agent gone.
//!
//! Its standard input, where that is a pipe, is that of an agent that waits for it: when it ends, so does the program.
//! It says on standard output how the program ended, and on standard error the end of what that said. It exits with 0
//! when the program did, or when the target is gone with its namespaces: there is nothing to be done there any more.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use chaos_kitty::Code;
use chaos_kitty_guard::{Process, Undo, clock::boot_time, revert::LOOK_AGAIN, undo::Progress};
use rustix::{
    fs::{FileType, fstat},
    process::{Pid, Signal, kill_process_group},
};

use super::{
    output::Tail,
    place::Place,
    released::Release,
    room,
    spawn::{self, Said},
};
use crate::host::cgroup::{Cgroup, Freezer};

/// How much longer than its program this may take, for whoever waits for it.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Longest wait for the end of what was ended, and for the last of its output.
const ENDING: Duration = Duration::from_secs(4);

/// The command line that runs `argv` at a place.
pub(crate) fn argv(place: &Place, limit: Duration, argv: &[String]) -> io::Result<Vec<String>> {
    let own = ["stress".to_owned(), "command".to_owned(), limit.as_millis().to_string(), place.text()?];
    Ok([spawn::lasting_program()?].into_iter().chain(own).chain(argv.iter().cloned()).collect())
}

/// A header's own text, for the shell that it is written for.
pub(crate) fn shell(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).into()
}

pub(super) fn run(limit: Duration, place: &Place, argv: &[&str]) -> io::Result<ExitCode> {
    let program = Running::start(place, argv)?;
    let said = program.wait(Instant::now() + limit);
    let output = program.end();
    let said = said.unwrap_or_else(|| Said::Failed {
        code: Code::NoAnswer.number(),
        message: format!("it did not end within {limit:?}, and was ended"),
    });
    io::stderr().write_all(output.as_bytes())?;
    said.say()?;
    let exit = match &said {
        Said::Exited { code: Some(0), .. } => ExitCode::SUCCESS,
        Said::Failed { code, .. } if *code == Code::TargetGone.number() => ExitCode::SUCCESS,
        Said::Failed { message, .. } => {
            spawn::tell_parent(&io::Error::other(message.clone()));
            ExitCode::FAILURE
        }
        _ => ExitCode::FAILURE,
    };
    Ok(exit)
}

/// A program that runs on a target.
struct Running {
    child: Child,
    cgroup: Option<Cgroup>,
    said: mpsc::Receiver<Said>,
    output: mpsc::Receiver<String>,
}

impl Running {
    fn start(place: &Place, argv: &[&str]) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("kitty-stress")
            .args(["stress", "inside", &place.text()?])
            .args(argv)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (sender, said) = mpsc::channel();
        listen(&mut child, sender.clone());
        watch_for_the_end(sender)?;
        let output = drain(&mut child);
        let mut running = Self { child, cgroup: None, said, output };
        running.cgroup = running.confine(place.live());
        let release = Release { start: boot_time(), hold: Duration::ZERO }.line();
        if let Some(pipe) = &mut running.child.stdin {
            // Where it ended already, it has said why.
            let _ = pipe.write_all(release.as_bytes());
        }
        Ok(running)
    }

    /// Puts it under the limits of the target, and into a cgroup of its own. Without one (an ordinary user's agent)
    /// it is ended as a process group.
    fn confine(&self, target: Option<Process>) -> Option<Cgroup> {
        let pid = self.child.id();
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
        for cgroup in target.and_then(|target| spawn::places(target).ok()).into_iter().flatten() {
            if !is_frozen(&cgroup) {
                let _ = cgroup.attach(pid);
            }
        }
        // Below one that is frozen it would stand still.
        let below = room::below(target).ok().filter(|below| !is_frozen(below));
        let below = below.or_else(|| room::below(None).ok())?;
        let Process { pid, start_time } = Process::now(pid)?;
        let folder = below.folder.join(name(pid, start_time));
        fs::create_dir(&folder).ok()?;
        let cgroup = Cgroup { folder, version: below.version };
        match cgroup.attach(pid) {
            Ok(()) => Some(cgroup),
            Err(_) => {
                let _ = fs::remove_dir(&cgroup.folder);
                None
            }
        }
    }

    /// What it says at its end. `None`: it did not end in time.
    fn wait(&self, deadline: Instant) -> Option<Said> {
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Said::Started) => {}
                Ok(said) => return Some(said),
                Err(_) => return None,
            }
        }
    }

    /// Ends all that is left of it. Gives the end of what it said.
    fn end(mut self) -> String {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        if let Some(Cgroup { folder, version }) = self.cgroup {
            let undos =
                [Undo::EndCgroup { cgroup: folder.clone(), version }, Undo::RemoveCgroup { cgroup: folder }];
            let begun = Instant::now();
            for undo in undos {
                while !matches!(undo.step(), Ok(Progress::Done)) && begun.elapsed() < ENDING {
                    thread::sleep(LOOK_AGAIN);
                }
            }
        }
        self.output.recv_timeout(ENDING).unwrap_or_default()
    }
}

fn name(pid: u32, start_time: u64) -> PathBuf {
    format!("kitty-command-{pid}-{start_time}").into()
}

fn is_frozen(cgroup: &Cgroup) -> bool {
    matches!(cgroup.freezer(), Ok(Freezer::Frozen | Freezer::Freezing))
}

/// What the child says, line by line; at last, that it says nothing more.
fn listen(child: &mut Child, sender: mpsc::Sender<Said>) {
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let lines = io::BufRead::lines(io::BufReader::new(stdout)).map_while(Result::ok);
            let said = lines.filter_map(|line| serde_json::from_str(&line).ok());
            said.map(|said| sender.send(said)).take_while(Result::is_ok).for_each(drop);
            let _ = sender.send(broke_off("it was ended before its time"));
        });
    }
}

/// Says when whoever waits for this is gone.
fn watch_for_the_end(sender: mpsc::Sender<Said>) -> io::Result<()> {
    let stdin = io::stdin();
    if FileType::from_raw_mode(fstat(&stdin)?.st_mode) == FileType::Fifo {
        thread::spawn(move || {
            // Nothing is ever sent, so that whatever comes is the end.
            let _ = io::stdin().read(&mut [0]);
            let _ = sender.send(broke_off("its agent is gone"));
        });
    }
    Ok(())
}

fn broke_off(what: &str) -> Said {
    Said::Failed { code: Code::BrokeOff.number(), message: what.to_owned() }
}

/// The end of what its program says, once nobody can say any more.
fn drain(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, output) = mpsc::channel();
    if let Some(mut stderr) = child.stderr.take() {
        thread::spawn(move || {
            let (mut tail, mut buffer) = (Tail::default(), [0; 4096]);
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                tail.keep(&buffer[..length]);
            }
            let _ = sender.send(tail.text());
        });
    }
    output
}
