//! What is attacked: a server, an agent with its guard, and processes of which all but one are paused.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use chaos_kitty::v1::{self, Delay, action::Kind, action_state::Name as State};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually,
    process::{Process, is_alive, resident, state},
};

use crate::{calls::World, watch::Seen};

/// Resident bytes of the server, the agent and its guard.
pub(crate) type Memory = [u64; 3];

/// Processes; one of them is left alone, as in any group.
const PROCESSES: usize = 4;
const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;
/// What may be resident more after the rest.
const GROWTH: u64 = 64 * MIB;
/// Longest time without an answer, and most bytes of a log.
const LAMED: Duration = Duration::from_secs(1);
const LOG: usize = 10 << 20;

pub(crate) struct Bed {
    // Ended before the processes that it pauses.
    agent: Agent,
    pub(crate) server: Server,
    guard: u32,
    held: Vec<v1::ActionStatus>,
    paused: Vec<u32>,
    _processes: Vec<Process>,
    _sandbox: Sandbox,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let sandbox = Sandbox::new();
        // A name that no other process of the machine has.
        let name = format!("kattack{}", std::process::id());
        let program = sandbox.path().join(&name);
        fs::copy("/bin/sleep", &program).unwrap();
        let processes: Vec<_> = (0..PROCESSES).map(|number| sleeper(&program, number, &sandbox)).collect();
        // Whatever a call asks for, nothing but a pause is done to this machine.
        let policy = sandbox.path().join("policy.toml");
        fs::write(&policy, "allow = [\"delay\"]\n").unwrap();
        let server = sandbox.server(&["--concurrent-suites"]).await;
        let flags = ["--process", &name, "--policy", policy.to_str().unwrap()];
        let agent = sandbox.agent(&server, "real", &flags).await;
        let (mut held, mut paused) = (Vec::new(), Vec::new());
        for process in &processes[..PROCESSES - 1] {
            let pid = process.pid();
            let target = server.target(&format!("{name}:{pid}")).await;
            held.push(server.started(&target.id, pause()).await);
            paused.push(pid);
        }
        let guard = agent.guard();
        Self { agent, server, guard, held, paused, _processes: processes, _sandbox: sandbox }
    }

    /// The server, the agent, its guard.
    pub(crate) fn pids(&self) -> [u32; 3] {
        [self.server.process.pid(), self.agent.process.pid(), self.guard]
    }

    pub(crate) fn resident(&self) -> Memory {
        memory_of(self.pids())
    }

    pub(crate) async fn faults_are_in_force(&self, world: &World) -> Vec<String> {
        let mut complaints = Vec::new();
        for held in &self.held {
            let now = world.client.clone().get_action(v1::GetActionRequest { id: held.id.clone() }).await;
            if !now.as_ref().is_ok_and(|now| now.get_ref().state() == State::Started) {
                complaints.push(format!("a fault was in force, and is no more: {now:?}"));
            }
        }
        let moving = self.paused.iter().filter(|pid| state(**pid) != Some('T'));
        complaints.extend(moving.map(|pid| format!("process {pid} should be paused")));
        complaints
    }

    pub(crate) async fn faults_are_reverted(&self) -> Vec<String> {
        let running = async || self.paused.iter().all(|pid| state(*pid) == Some('S')).then_some(());
        eventually("what was paused runs again", running).await;
        Vec::new()
    }

    /// What is wrong after the rest.
    pub(crate) fn judge(&mut self, before: Memory, seen: &Seen) -> Vec<String> {
        let mut complaints = seen.failed.clone();
        for (name, pid) in ["kittyd", "kitty-agent", "kitty-guard"].into_iter().zip(self.pids()) {
            if !is_alive(pid) {
                complaints.push(format!("{name} has ended"));
            }
        }
        for (name, log) in
            [("kittyd", self.server.process.stderr()), ("kitty-agent", self.agent.process.stderr())]
        {
            println!("log of {name}: {} bytes", log.len());
            if log.len() > LOG {
                complaints.push(format!("the log of {name} has {} bytes", log.len()));
            }
            let panics: Vec<_> = log.lines().filter(|line| line.contains("panicked")).take(5).collect();
            complaints.extend(panics.into_iter().map(|line| format!("{name}: {line}")));
        }
        if seen.longest() > LAMED {
            complaints.push(format!(
                "an answer took {:?} (this program itself was woken {:?} late)",
                seen.longest(),
                seen.own
            ));
        }
        for ((before, most), after) in before.into_iter().zip(seen.most).zip(self.resident()) {
            if most > 3 * before || after > before + GROWTH {
                complaints.push(format!(
                    "resident {} MiB, then {}, then {}",
                    before / MIB,
                    most / MIB,
                    after / MIB
                ));
            }
        }
        complaints
    }

    pub(crate) fn memory(&self, before: Memory, seen: &Seen) -> String {
        let after = self.resident();
        let line = |index: usize| {
            let of = [before[index], seen.most[index], after[index]].map(|bytes| (bytes / MIB).to_string());
            of.join(" → ")
        };
        format!("kittyd {} MiB, kitty-agent {} MiB, kitty-guard {} MiB", line(0), line(1), line(2))
    }
}

pub(crate) fn memory_of(pids: [u32; 3]) -> Memory {
    pids.map(|pid| resident(pid).unwrap_or_default())
}

fn sleeper(program: &PathBuf, number: usize, sandbox: &Sandbox) -> Process {
    let mut command = Command::new(program);
    command.arg("100000");
    Process::start(&format!("sleeper{number}"), command, sandbox.path())
}

fn pause() -> v1::Action {
    v1::Action { duration: Some(HOUR.into()), kind: Some(Kind::Delay(Delay::default())) }
}
