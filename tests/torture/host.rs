//! The server of one or many cells.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chaos_kitty::{
    client::{Client, TlsFiles, dial},
    endpoint::{DEFAULT_SOCKET, Endpoint},
    v1::GetStatusRequest,
};
use chaos_kitty_tests::{Sandbox, eventually, process::Process};

use crate::program::end_gently;

/// A server in a folder of its own, and one connection to it.
pub(crate) struct Host {
    // Dropped before its folder.
    process: Mutex<Process>,
    pub(crate) client: Client,
    lease: Duration,
    sandbox: Sandbox,
}

impl Host {
    /// Starts one; `crash_at` is for a server that is to stop at a point.
    pub(crate) async fn start(lease: Duration, crash_at: Option<&str>) -> Self {
        let sandbox = Sandbox::new();
        let process = Mutex::new(start(&sandbox, lease, crash_at));
        let socket = sandbox.path().join(DEFAULT_SOCKET);
        let client = eventually("kittyd answers", async || {
            let mut client = dial(&Endpoint::Unix(socket.clone()), &TlsFiles::default()).await.ok()?;
            client.get_status(GetStatusRequest {}).await.ok()?;
            Some(client)
        })
        .await;
        Self { process, client, lease, sandbox }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.sandbox.path().join(DEFAULT_SOCKET)
    }

    /// What it gives its agents.
    pub(crate) const fn lease(&self) -> Duration {
        self.lease
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        self.process().stderr()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process().is_running()
    }

    /// Starts it again on its store, after it was killed or is now; `crash_at` as above.
    pub(crate) fn restart(&self, crash_at: Option<&str>) {
        let mut process = self.process();
        process.kill();
        *process = start(&self.sandbox, self.lease, crash_at);
    }

    /// Starts it again after it has ended in good order.
    pub(crate) fn restart_gently(&self) {
        let mut process = self.process();
        end_gently(&mut process);
        *process = start(&self.sandbox, self.lease, None);
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(sandbox: &Sandbox, lease: Duration, crash_at: Option<&str>) -> Process {
    let mut command = sandbox.command("kittyd");
    let socket = Endpoint::Unix(sandbox.path().join(DEFAULT_SOCKET));
    command.args(["--listen", &socket.to_string(), "--lease", &format!("{}s", lease.as_secs())]);
    command.args(["--scripts-dir", concat!(env!("CARGO_MANIFEST_DIR"), "/torture/scripts")]);
    if let Some(point) = crash_at {
        command.env("KITTY_CRASH_AT", point);
    }
    Process::start("kittyd", command, sandbox.path())
}
