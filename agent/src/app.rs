//! Puts the parts together: state, platforms, executor, relay, uplink.

use std::{convert::Infallible, sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem, client,
    ending::{Endings, Told},
    notify::Notify,
    telemetry,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config, host_name},
    executor::{self, Executor},
    platform::{
        Owner, Platforms,
        docker::{self, DockerPlatform},
        host::HostPlatform,
        kubernetes::{self, KubernetesPlatform},
        process::{self, ProcessPlatform},
        systemd::{self, SystemdPlatform},
    },
    policy::offer::Offer,
    state::State,
    uplink::{Presence, Reports, Uplink, relay},
};

/// How long the end of an agent may take after everything is reverted: last reports, Goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long the connection to the server waits for what an earlier agent left to be put back, and for the guard.
const RECOVERY: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to end; everything that it holds is reverted then.
///
/// # Errors
/// It can not start: see [`Problem`] for what to do.
pub(crate) async fn run(config: Config) -> Result<(), Problem> {
    let telemetry = telemetry::init("kitty-agent", &config.args.telemetry)?;
    let notify = Notify::from_environment();
    let mut endings = Endings::of_a_service()
        .map_err(|error| Problem::internal(format!("waiting for signals: {error}")))?;
    let agent = Agent::start(&config).await?;
    notify.tell("READY=1");
    loop {
        tokio::select! {
            told = endings.next() => match told {
                Told::End => break,
                Told::Reload => notify.reload(|| reload(&agent.executor, telemetry.verbosity())),
            },
            () = notify.keep_watchdog_quiet() => {}
        }
    }
    tracing::info!("told to end: everything is reverted first");
    notify.tell("STOPPING=1");
    agent.stop().await;
    Ok(())
}

/// Reads log level and policy again. Certificates are read for each connection anyway; all else needs a restart.
fn reload(executor: &Executor, verbosity: &telemetry::Verbosity) -> Result<(), String> {
    let config = config::load().map_err(|error| error.to_string())?;
    let policy = config.policy().map_err(|problem| problem.to_string())?;
    verbosity.replace(&config.args.telemetry.log).map_err(|problem| problem.to_string())?;
    executor.govern(policy);
    Ok(())
}

/// A running agent.
struct Agent {
    executor: Executor,
    leave: CancellationToken,
    uplink: JoinHandle<()>,
    keeper: JoinHandle<()>,
    /// Dropped last: ends the neighbours' socket and the platforms.
    _local: Option<AbortOnDrop>,
    _platforms: Arc<Platforms>,
}

struct AbortOnDrop(JoinHandle<Infallible>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Agent {
    async fn start(config: &Config) -> Result<Self, Problem> {
        let args = &config.args;
        let endpoint = args.endpoint()?;
        client::check(&endpoint, &args.tls())?;
        let state = Arc::new(State::open(&args.state_folder())?);
        let agent_id = state.agent_id(args.name.as_deref(), &host_name())?;
        let host = args.host.clone().unwrap_or_else(|| agent_id.clone());
        let owner = Owner { agent_id: agent_id.clone(), host: host.clone(), labels: args.labels() };
        let platforms = Arc::new(platforms(config, owner)?);
        let seen = watch::Sender::new(state.seen()?);
        let keeper = state.keep(seen.subscribe());

        let found = Arc::clone(&platforms);
        let find = Box::new(move |id: &str| found.subject(id));
        let (executor, news) = Executor::new(executor_settings(config, &state)?, find);
        if seen.borrow().latched {
            tracing::warn!("halted before this start: nothing is admitted until resume");
            executor.latch();
        }
        recover(&executor).await;
        let reports = Arc::new(Reports::new(news));
        let collected = Arc::clone(&reports);
        tokio::spawn(async move { collected.collect().await });

        let relay = Arc::new(relay::Relay::new(&agent_id));
        let local = args.listen_path()?.map(|path| relay::listen(&path, args.listen_group.as_deref()));
        let local = local
            .transpose()?
            .map(|local| AbortOnDrop(tokio::spawn(relay::serve(local, Arc::clone(&relay)))));
        let leave = CancellationToken::new();
        let types = platforms.types().iter().map(|name| (*name).to_owned()).collect();
        let uplink = Uplink {
            endpoint,
            tls: args.tls(),
            presence: Presence { agent_id, host, labels: args.labels(), platforms: types },
            executor: executor.clone(),
            rosters: platforms.roster(),
            offer: Arc::new(Offer::new(config.policy()?)),
            reports,
            relay,
            seen,
            leave: leave.clone(),
        };
        tracing::info!(agent = uplink.presence.agent_id, server = %uplink.endpoint, "kitty-agent starts");
        let uplink = tokio::spawn(uplink.run());
        Ok(Self { executor, leave, uplink, keeper, _local: local, _platforms: platforms })
    }

    /// Reverts everything, reports it, says Goodbye.
    async fn stop(self) {
        self.executor.shutdown().await;
        self.leave.cancel();
        let farewell = async {
            let uplink = self.uplink.await;
            let keeper = self.keeper.await;
            uplink.and(keeper)
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a part of the agent broke down"),
            Err(_) => tracing::warn!("the server did not take the last reports in time"),
        }
    }
}

fn platforms(config: &Config, owner: Owner) -> Result<Platforms, Problem> {
    let processes = process::rules::compile(&config.processes).map_err(all)?;
    let services = systemd::rules::compile(&config.services).map_err(all)?;
    let containers = docker::rules::compile(&config.containers).map_err(all)?;
    let pods = kubernetes::rules::compile(&config.pods).map_err(all)?;
    let mut platforms = Platforms::default();
    if config.args.host_target {
        platforms.add(HostPlatform::new(owner.clone()));
    }
    if !processes.is_empty() {
        platforms.add(ProcessPlatform::new(owner.clone(), processes));
    }
    if !services.is_empty() {
        platforms.add(SystemdPlatform::new(owner.clone(), services));
    }
    if !containers.is_empty() {
        platforms.add(DockerPlatform::new(owner.clone(), containers, config.args.docker_socket()));
    }
    if !pods.is_empty() {
        platforms.add(KubernetesPlatform::new(owner, pods, config.args.cluster()));
    }
    Ok(platforms)
}

/// Several problems as one.
fn all(problems: Vec<Problem>) -> Problem {
    let lines: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let hint = problems.iter().map(|problem| problem.hint.as_str()).find(|hint| !hint.is_empty());
    Problem::new(Code::Usage, lines.join("\n")).hint(hint.unwrap_or_default())
}

/// What an earlier agent left is put back first, and the guard is there, so that the first order is not refused; what
/// takes long, beside the rest.
async fn recover(executor: &Executor) {
    let recovering = executor.clone();
    let mut recovered = tokio::spawn(async move {
        recovering.recover().await;
        recovering.guarded().await;
    });
    match timeout(RECOVERY, &mut recovered).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "putting back what was left broke off"),
        Err(_) => {
            tracing::warn!(
                "what was left is being put back still, or the guard does not start; nothing is admitted before"
            );
        }
    }
}

fn executor_settings(config: &Config, state: &State) -> Result<executor::Settings, Problem> {
    let beside = executor::Settings::guard_beside_this_program;
    let guard = config.args.guard.clone().map_or_else(beside, Ok);
    Ok(executor::Settings {
        guard: guard.map_err(|error| Problem::internal(format!("finding this program: {error}")))?,
        max_held: executor::Settings::MAX_HELD,
        policy: config.policy()?,
        journal: state.journal(),
        steps: state.steps(),
        lock: Some(state.lock()),
        put_back: state.put_back().to_vec(),
    })
}
