//! A process to be paused, which itself tells for how long it stood still.

use std::{
    env, fs,
    io::{self, Write},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use chaos_kitty_tests::{Sandbox, eventually, process::Process};

/// The name of the process, and so of the agent's rule for it.
pub const NAME: &str = "mouse";
const SCURRY: &str = "KITTY_BENCH_MOUSE";
/// How long it rests between two looks at the clock. The system adds some 50 us.
const REST: Duration = Duration::from_micros(20);
/// A gap of at least this was no accident of the scheduler.
const STILL: Duration = Duration::from_millis(100);

/// A running mouse. Killed when dropped.
pub struct Mouse(Process);

impl Mouse {
    /// Starts this executable again under the mouse's name; its `main` must call [`scurry_if_asked`] first.
    pub fn start(sandbox: &Sandbox) -> Self {
        let path = sandbox.path().join(NAME);
        fs::copy(env::current_exe().unwrap(), &path).unwrap();
        let mut command = Command::new(path);
        command.env(SCURRY, "");
        Self(Process::start(NAME, command, sandbox.path()))
    }

    /// The pauses that it has felt, once there are so many.
    pub async fn pauses(&self, count: usize) -> Vec<Duration> {
        eventually("the mouse tells of its pauses", async || {
            let told = self.0.stdout();
            let pauses: Vec<_> =
                told.lines().map(|line| Duration::from_nanos(line.parse().unwrap())).collect();
            (pauses.len() >= count).then_some(pauses)
        })
        .await
    }
}

/// In the process that [`Mouse::start`] started: writes the length of each gap in its life, and never returns.
pub fn scurry_if_asked() {
    if env::var_os(SCURRY).is_none() {
        return;
    }
    let mut last = Instant::now();
    loop {
        thread::sleep(REST);
        let now = Instant::now();
        if now - last >= STILL {
            println!("{}", (now - last).as_nanos());
            io::stdout().flush().unwrap();
            last = Instant::now();
        } else {
            last = now;
        }
    }
}
