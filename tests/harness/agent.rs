//! kitty-agent under test.

use std::{path::PathBuf, process::Command};

use chaos_kitty::endpoint::Endpoint;
use rustix::process::Signal;

use crate::{
    Sandbox, Server, eventually,
    process::{self, Process},
};

const GUARD: &str = "kitty-guard";

/// A running kitty-agent. Killed when dropped; its guard then reverts what it held.
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Its id.
    pub name: String,
    local: Endpoint,
}

impl Agent {
    pub(crate) async fn start(
        sandbox: &Sandbox,
        server: &Server,
        attach_to: &Endpoint,
        name: &str,
        flags: &[&str],
    ) -> Self {
        let process = Process::start(name, Self::command(sandbox, attach_to, name, flags), sandbox.path());
        let mut agent = Self { process, name: name.to_owned(), local: local(sandbox, name) };
        eventually(&format!("kittyd lists the agent {name}"), async || {
            assert!(agent.process.is_running(), "{name} ended at its start:\n{}", agent.process.stderr());
            server.agents().await.into_iter().find(|listed| listed.id == name && listed.connected)
        })
        .await;
        agent
    }

    /// The command that starts an agent of this name, with these flags more.
    pub fn command(sandbox: &Sandbox, attach_to: &Endpoint, name: &str, flags: &[&str]) -> Command {
        let mut command = sandbox.command("kitty-agent");
        command
            .args(["--server", &attach_to.to_string(), "--name", name])
            .args(["--listen", &local(sandbox, name).to_string()])
            .arg("--state")
            .arg(Self::state(sandbox, name))
            .args(flags);
        command
    }

    /// The state folder of an agent of this name.
    pub fn state(sandbox: &Sandbox, name: &str) -> PathBuf {
        sandbox.path().join(format!("{name}.state"))
    }

    /// The pid of its guard.
    pub fn guard(&self) -> u32 {
        let children = process::children(self.process.pid());
        children.into_iter().find(|pid| process::name(*pid) == GUARD).expect("the agent has a guard")
    }

    /// The pid of a child that is not its guard.
    pub fn stressor(&self) -> u32 {
        let children = process::children(self.process.pid());
        children.into_iter().find(|pid| process::name(*pid) != GUARD).expect("the agent has a stressor")
    }

    /// Kills it and its guard, in a way that neither can act on the other's end.
    pub fn kill_with_guard(&mut self) {
        let guard = self.guard();
        for signal in [Signal::STOP, Signal::KILL] {
            self.process.signal(signal);
            process::signal(guard, signal);
        }
        self.process.kill();
        process::wait_for("the guard is gone", || !process::is_alive(guard));
    }

    /// The socket where workers and other agents attach to it.
    pub fn local(&self) -> Endpoint {
        self.local.clone()
    }
}

fn local(sandbox: &Sandbox, name: &str) -> Endpoint {
    Endpoint::Unix(sandbox.path().join(format!("{name}.ipc")))
}
