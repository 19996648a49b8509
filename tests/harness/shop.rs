//! The worker SDK's example service under test.

use crate::{Sandbox, eventually, http, process::Process};

/// A running example service. Killed when dropped.
pub struct Shop {
    /// The process.
    pub process: Process,
    /// The name of its target.
    pub name: String,
    /// `127.0.0.1:PORT` of its HTTP side.
    pub http: String,
}

impl Shop {
    pub(crate) async fn start(sandbox: &Sandbox, name: &str, group: &str, attach_to: &str) -> Self {
        let mut command = sandbox.command("shop");
        command.args(["--listen", "127.0.0.1:0", "--server", attach_to, "--name", name, "--group", group]);
        let process = Process::start(name, command, sandbox.path());
        let http = eventually(&format!("{name} says where it listens"), async || {
            let out = process.stdout();
            out.lines().find_map(|line| line.strip_prefix("listening on http://").map(str::to_owned))
        })
        .await;
        Self { process, name: name.to_owned(), http }
    }

    /// One request to its `/`: the status and the body.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn request(&self) -> std::io::Result<(u16, String)> {
        http::request(&self.http, "GET", "/", &[], "").await
    }
}
