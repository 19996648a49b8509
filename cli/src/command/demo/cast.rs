//! The processes of the demo: a server, an agent and three example services, in a folder of their own. They end
//! with it, whatever happens.

use std::{
    env, fs, io,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    client::{Client, TlsFiles, dial},
    endpoint::Endpoint,
    v1::{GetStatusRequest, ListTargetsRequest, Target},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{gauge::Subject, programs::Programs, wait::until};

/// The agent's name, and thus the host's in target ids.
pub(super) const AGENT: &str = "demo";
/// The group of the example services as workers.
pub(super) const GROUP: &str = "shop";
/// How many example services there are.
const SHOPS: usize = 3;
/// How long a program may take to end once it is asked to.
const FAREWELL: Duration = Duration::from_secs(10);

/// A running program. Killed when dropped.
#[derive(Debug)]
pub(super) struct Actor {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

/// A running example service.
#[derive(Debug)]
pub(super) struct Shop {
    actor: Actor,
    http: SocketAddr,
    /// Where it attached to.
    attach_to: String,
}

/// Everything that the demo started.
#[derive(Debug)]
pub(super) struct Cast {
    /// A client of the server.
    pub(super) client: Client,
    server: Actor,
    agent: Actor,
    shops: Vec<Shop>,
    /// A name for the example services as processes that nothing else on this machine has.
    rule: String,
    // Dropped last: the programs above write into it.
    folder: TempDir,
}

impl Cast {
    /// Starts everything and waits until the server lists all targets.
    ///
    /// # Errors
    /// A program can not be started, ends at once, or does not answer in time.
    pub(super) async fn start(programs: &Programs) -> Result<Self, Problem> {
        let folder = tempfile::Builder::new().prefix("kitty-demo-").tempdir().map_err(in_folder)?;
        let rule = format!("shop-{}", std::process::id());
        symlink(&programs.shop, folder.path().join(&rule)).map_err(in_folder)?;
        let socket = |name: &str| Endpoint::Unix(folder.path().join(name));

        let address = socket("chaos_kitty.ipc");
        let flags = ["--listen", &address.to_string()];
        let mut server = Actor::start("kittyd", &programs.server, &flags, folder.path())?;
        let client = server_answers(&mut server, &address).await?;

        let local = socket("agent.ipc").to_string();
        let state = folder.path().join("agent.state").display().to_string();
        let flags = ["--server", &address.to_string(), "--name", AGENT, "--host-target", "--listen", &local];
        let flags = [&flags[..], &["--state", &state, "--process", &rule]].concat();
        let agent = Actor::start("kitty-agent", &programs.agent, &flags, folder.path())?;

        let mut cast = Self { client, server, agent, shops: Vec::new(), rule, folder };
        for number in 1..=SHOPS {
            // The last one stands behind the agent: its stream is relayed.
            let attach_to = if number == SHOPS { local.clone() } else { address.to_string() };
            let shop = cast.start_shop(&format!("shop-{number}"), &attach_to).await?;
            cast.shops.push(shop);
        }
        for index in 0..SHOPS {
            cast.listed(index).await?;
        }
        Ok(cast)
    }

    async fn start_shop(&self, name: &str, attach_to: &str) -> Result<Shop, Problem> {
        let program = self.folder.path().join(&self.rule);
        let flags = ["--listen", "127.0.0.1:0", "--server", attach_to, "--name", name, "--group", GROUP];
        let mut actor = Actor::start(name, &program, &flags, self.folder.path())?;
        let output = self.folder.path().join(format!("{name}.out"));
        let http = until(&format!("{name} says where it listens"), async || {
            if let Some(problem) = actor.ended() {
                return Some(Err(problem));
            }
            let text = fs::read_to_string(&output).unwrap_or_default();
            let address = text.lines().find_map(|line| line.strip_prefix("listening on http://"))?;
            address.parse().ok().map(Ok)
        })
        .await??;
        Ok(Shop { actor, http, attach_to: attach_to.to_owned() })
    }

    /// Starts example services anew that have ended, and waits until they are targets again.
    pub(super) async fn restart_ended(&mut self) -> Result<(), Problem> {
        for index in 0..self.shops.len() {
            if self.shops[index].actor.ended().is_some() {
                let (name, attach_to) = (self.shop(index).to_owned(), self.shops[index].attach_to.clone());
                self.shops[index] = self.start_shop(&name, &attach_to).await?;
                self.listed(index).await?;
            }
        }
        Ok(())
    }

    /// Waits until an example service is a target, as a worker and as a process.
    async fn listed(&self, index: usize) -> Result<(), Problem> {
        let (name, pid) = (self.shop(index), self.shops[index].actor.pid);
        let process = self.process_target(index);
        until(&format!("{name} is a target as a worker and as a process"), async || {
            let targets = self.targets().await?;
            let worker =
                targets.iter().any(|target| target.name == name && target.pids.first() == Some(&pid));
            (worker && targets.iter().any(|target| target.id == process)).then_some(())
        })
        .await
    }

    async fn targets(&self) -> Option<Vec<Target>> {
        let answer = self.client.clone().list_targets(ListTargetsRequest::default()).await;
        Some(answer.ok()?.into_inner().targets)
    }

    /// The name of an example service, which is also its target's as a worker.
    pub(super) fn shop(&self, index: usize) -> &str {
        &self.shops[index].actor.name
    }

    /// The id of an example service's target as a process.
    pub(super) fn process_target(&self, index: usize) -> String {
        format!("process/{AGENT}/{}:{}", self.rule, self.shops[index].actor.pid)
    }

    /// Where to measure an example service.
    pub(super) fn subject(&self, index: usize) -> Subject {
        let shop = &self.shops[index];
        Subject { pid: shop.actor.pid, http: shop.http, agent: self.agent.pid }
    }

    /// How many example services there are.
    pub(super) fn shops(&self) -> usize {
        self.shops.len()
    }

    /// Pids of everything that was started and still belongs to the demo.
    pub(super) fn pids(&self) -> Vec<u32> {
        let shops = self.shops.iter().map(|shop| shop.actor.pid);
        [self.server.pid, self.agent.pid].into_iter().chain(shops).collect()
    }

    /// Ends everything by its pid, in order: who depends on another first.
    ///
    /// # Errors
    /// Names who had to be killed, or ended with an error.
    pub(super) async fn end(mut self) -> Result<(), Problem> {
        let mut late = Vec::new();
        for shop in &mut self.shops {
            late.extend(shop.actor.end().await.err());
        }
        for actor in [&mut self.agent, &mut self.server] {
            match actor.end().await {
                Ok(status) if status.success() => {}
                Ok(status) => late.push(format!("{} ended with {status}", actor.name)),
                Err(what) => late.push(what),
            }
        }
        if late.is_empty() { Ok(()) } else { Err(Problem::new(Code::Internal, late.join("; "))) }
    }
}

impl Actor {
    /// Starts a program in this folder, without any setting from outside. Its log is `NAME.log`, its standard
    /// output `NAME.out`. In a process group of its own, so that Ctrl-C reaches the demo alone.
    fn start(name: &str, program: &Path, flags: &[&str], folder: &Path) -> Result<Self, Problem> {
        let log = folder.join(format!("{name}.log"));
        let output = |path: &Path| fs::File::create(path).map_err(in_folder);
        let mut command = Command::new(program);
        command
            .args(flags)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output(&folder.join(format!("{name}.out")))?)
            .stderr(output(&log)?)
            .process_group(0)
            .kill_on_drop(true);
        for (variable, _) in env::vars_os() {
            if variable.to_str().is_some_and(|name| name.starts_with("KITTY_") || name.starts_with("OTEL_")) {
                command.env_remove(variable);
            }
        }
        let child = command.spawn().map_err(|error| cannot_start(program, &error))?;
        let pid = child.id().ok_or_else(|| Problem::internal(format!("{name} has no pid")))?;
        Ok(Self { name: name.to_owned(), child, pid, log })
    }

    /// That it has ended, with the end of its log.
    fn ended(&mut self) -> Option<Problem> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        let tail: Vec<&str> = lines.into_iter().rev().collect();
        Some(Problem::new(Code::Internal, format!("{} ended with {status}: {}", self.name, tail.join(" | "))))
    }

    /// Asks it to end, and kills it if it does not.
    async fn end(&mut self) -> Result<ExitStatus, String> {
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // The child is not reaped before its `wait`, so the pid is still its own.
            let _ended_meanwhile = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(FAREWELL, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(format!("waiting for {}: {error}", self.name)),
            Err(_) => {
                let killed = self.child.kill().await;
                Err(format!("{} did not end within {FAREWELL:?} and was killed ({killed:?})", self.name))
            }
        }
    }
}

async fn server_answers(server: &mut Actor, address: &Endpoint) -> Result<Client, Problem> {
    until("kittyd answers", async || {
        if let Some(problem) = server.ended() {
            return Some(Err(problem));
        }
        let mut client = dial(address, &TlsFiles::default()).await.ok()?;
        client.get_status(GetStatusRequest {}).await.ok()?;
        Some(Ok(client))
    })
    .await?
}

fn in_folder(error: io::Error) -> Problem {
    Problem::new(Code::Usage, format!("making the demo's temporary folder: {error}"))
        .hint("TMPDIR must name a folder that can be written")
}

fn cannot_start(program: &Path, error: &io::Error) -> Problem {
    Problem::new(Code::MissingDependency, format!("starting {}: {error}", program.display()))
}
