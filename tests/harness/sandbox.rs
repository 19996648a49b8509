//! A temporary folder with everything a test starts in it.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use chaos_kitty::endpoint::Endpoint;
use tempfile::TempDir;

use crate::{Agent, Server, Shop};

/// One test's own folder. Its path is short, since that of a Unix socket may have 107 bytes at the most.
pub struct Sandbox {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

impl Finished {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in\n{self}"))
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

impl Sandbox {
    /// A new, empty folder.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("kitty-").tempdir().unwrap();
        Self { folder, variables: Vec::new() }
    }

    /// Gives a variable to every program that is started from here on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program of the project, to be started in this folder without any setting from outside, but with
    /// those of [`Self::set`].
    ///
    /// # Panics
    /// It has not been built.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(built(program));
        command.current_dir(self.path());
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("KITTY_") || name.starts_with("OTEL_")) {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts kittyd on `unix:chaos_kitty.ipc` in this folder and on a free TCP port, with these flags more,
    /// and waits until it answers.
    pub async fn server(&self, flags: &[&str]) -> Server {
        Server::start(self, flags).await
    }

    /// Starts kitty-agent of this name against a server or relay, and waits until the server lists it.
    pub async fn agent(&self, server: &Server, name: &str, flags: &[&str]) -> Agent {
        Agent::start(self, server, &server.endpoint(), name, flags).await
    }

    /// The same, attached to another agent's local socket.
    pub async fn agent_behind(&self, server: &Server, relay: &Endpoint, name: &str, flags: &[&str]) -> Agent {
        Agent::start(self, server, relay, name, flags).await
    }

    /// Starts the example service as a worker of this name, of the group `shop`, attached to a server or relay.
    pub async fn shop(&self, name: &str, attach_to: &str) -> Shop {
        Shop::start(self, name, "shop", attach_to).await
    }

    /// Runs kittyctl to its end.
    pub fn kittyctl(&self, server: &str, arguments: &[&str]) -> Finished {
        let mut command = self.command("kittyctl");
        command.arg("--server").arg(server).args(arguments).env("NO_COLOR", "1");
        self.finish(command)
    }

    /// Runs a command to its end.
    pub fn finish(&self, mut command: Command) -> Finished {
        let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        output.into()
    }
}

/// The path of a program or example of the project: of the folder `KITTY_BIN` where it is there, else built with the
/// profile that the test was built with.
///
/// # Panics
/// It is not there.
pub fn built(program: &str) -> PathBuf {
    if let Some(named) = env::var_os("KITTY_BIN").map(|folder| PathBuf::from(folder).join(program))
        && named.is_file()
    {
        return named;
    }
    let executable = env::current_exe().unwrap();
    let profile = executable.ancestors().find(|folder| folder.join("kittyd").is_file());
    let found = profile
        .map(|folder| [folder.join(program), folder.join("examples").join(program)])
        .and_then(|places| places.into_iter().find(|place| place.is_file()));
    found.unwrap_or_else(|| {
        panic!("{program} is not built: run `cargo build --workspace --all-targets` first (tests/run does)")
    })
}
