//! kitty-agent under test.

use chaos_kitty::endpoint::Endpoint;

use crate::{Sandbox, Server, eventually, process::Process};

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
        let local = Endpoint::Unix(sandbox.path().join(format!("{name}.ipc")));
        let mut command = sandbox.command("kitty-agent");
        command
            .args(["--server", &attach_to.to_string(), "--name", name, "--listen", &local.to_string()])
            .arg("--state")
            .arg(sandbox.path().join(format!("{name}.state")))
            .args(flags);
        let process = Process::start(name, command, sandbox.path());
        let mut agent = Self { process, name: name.to_owned(), local };
        eventually(&format!("kittyd lists the agent {name}"), async || {
            assert!(agent.process.is_running(), "{name} ended at its start:\n{}", agent.process.stderr());
            server.agents().await.into_iter().find(|listed| listed.id == name && listed.connected)
        })
        .await;
        agent
    }

    /// The socket where workers and other agents attach to it.
    pub fn local(&self) -> Endpoint {
        self.local.clone()
    }
}
