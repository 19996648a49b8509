//! Finds the containers that rules name, and keeps them current by the Engine's events.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::models::{ContainerInspectResponse, EventMessage, RestartPolicyNameEnum as Policy};
use chaos_kitty::v1;
use chaos_kitty_guard::Process;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    DockerPlatform,
    handle::{Container, Engine},
    health,
    rules::{self, Rule},
};
use crate::{
    host::{cgroup::Extent, membership},
    platform::{Owner, Platform as _, Publisher, Subject, listed::Listed, support},
};

/// Pause before an Engine that does not answer is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What happens within this time is told as one change.
const SETTLE: Duration = Duration::from_millis(20);

/// Containers that are looked at at a time.
const AT_A_TIME: usize = 8;

/// Labels that describe an image, or how Compose made a container, and tell nothing of what it is for.
const DESCRIPTIONS: [&str; 3] = ["org.opencontainers.", "org.label-schema.", "com.docker."];

/// Keeps the roster's containers current, for as long as it is polled.
pub(super) async fn watch(owner: Owner, rules: Arc<[Rule]>, socket: &Path, publisher: Publisher) {
    loop {
        let Err(why) = follow(owner.clone(), rules.clone(), socket, &publisher).await;
        tracing::warn!(why, "the containers can not be seen");
        publisher.lost(why);
        sleep(TRY_AGAIN).await;
    }
}

/// Follows one connection, until it breaks.
async fn follow(
    owner: Owner,
    rules: Arc<[Rule]>,
    socket: &Path,
    publisher: &Publisher,
) -> Result<std::convert::Infallible, String> {
    let engine = Arc::new(Engine::connect(socket).await?);
    let mut events = engine.events(&now());
    let mut watch = Watch::new(owner, rules, engine);
    watch.look_at_all().await?;
    tracing::info!(containers = watch.found.len(), "the containers can be seen");
    loop {
        publisher.problem(watch.problem());
        publisher.replace(watch.targets().cloned());
        let changed = changes(&mut events).await?;
        watch.look_at(changed).await?;
    }
}

/// The wall clock, which the Engine's events go by.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

/// Waits for an event, and gathers those that follow at once: the ids of their containers.
async fn changes(
    events: &mut BoxStream<'static, Result<EventMessage, String>>,
) -> Result<BTreeSet<String>, String> {
    let mut changed = BTreeSet::new();
    while changed.is_empty() {
        changed.extend(container(events.next().await)?);
    }
    let settled = Instant::now() + SETTLE;
    while let Ok(event) = timeout_at(settled, events.next()).await {
        changed.extend(container(event)?);
    }
    Ok(changed)
}

/// The container that an event is about.
fn container(event: Option<Result<EventMessage, String>>) -> Result<Option<String>, String> {
    let event = event.ok_or_else(|| "Docker ended the stream of its events".to_owned())??;
    Ok(event.actor.and_then(|actor| actor.id))
}

/// What is known of an Engine's containers.
pub(super) struct Watch {
    owner: Owner,
    rules: Arc<[Rule]>,
    engine: Arc<Engine>,
    /// By container id.
    found: BTreeMap<Arc<str>, Arc<Listed>>,
    /// By container id, the names of those that match and whose processes are not of this host.
    elsewhere: BTreeMap<String, String>,
}

/// What a look at a container shows.
enum Seen {
    Target(Box<Subject>),
    /// It runs where its processes can not be seen.
    Elsewhere(String),
    /// It does not run, or matches no rule.
    Nothing,
}

impl Watch {
    pub(super) fn new(owner: Owner, rules: Arc<[Rule]>, engine: Arc<Engine>) -> Self {
        Self { owner, rules, engine, found: BTreeMap::new(), elsewhere: BTreeMap::new() }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Listed>> {
        self.found.values()
    }

    /// Why not all containers that match are offered. `None`: they are.
    pub(super) fn problem(&self) -> Option<String> {
        let first = self.elsewhere.values().next()?;
        Some(format!(
            "{} containers do not run on this host, as far as its processes show, e.g. {first}: run the agent where \
             they run, in the host's pid namespace",
            self.elsewhere.len()
        ))
    }

    pub(super) async fn look_at_all(&mut self) -> Result<(), String> {
        let running = self.engine.running().await?;
        self.look_at(running).await
    }

    async fn look_at(&mut self, ids: impl IntoIterator<Item = String>) -> Result<(), String> {
        let engine = self.engine.clone();
        let mut looks = stream::iter(ids)
            .map(|id| {
                let engine = engine.clone();
                async move {
                    let container = engine.inspect(&id).await?;
                    Ok::<_, String>((id, container))
                }
            })
            .buffer_unordered(AT_A_TIME);
        while let Some(look) = looks.next().await {
            let (id, container) = look?;
            let shared = Arc::from(&*id);
            let seen = container.map_or(Ok(Seen::Nothing), |container| self.see(&shared, &container));
            let seen = seen.map_err(|error| format!("the processes of container {id:.12}: {error}"))?;
            self.found.remove(&*id);
            self.elsewhere.remove(&id);
            match seen {
                Seen::Target(subject) => drop(self.found.insert(shared, (*subject).into())),
                Seen::Elsewhere(name) => drop(self.elsewhere.insert(id, name)),
                Seen::Nothing => {}
            }
        }
        Ok(())
    }

    fn see(&self, id: &Arc<str>, container: &ContainerInspectResponse) -> io::Result<Seen> {
        let name = container.name.as_deref().unwrap_or_default().trim_start_matches('/');
        let config = container.config.as_ref();
        let labels = config.and_then(|config| config.labels.clone()).unwrap_or_default();
        let Some(state) = &container.state else { return Ok(Seen::Nothing) };
        let Some(pid) = health::main_pid(state) else { return Ok(Seen::Nothing) };
        let Some(rule) = rules::rule_of(&self.rules, name, &labels) else { return Ok(Seen::Nothing) };
        // Before the cgroup is looked at: if that is the container's, so is the process.
        let main = Process::find(pid)?;
        let cgroup = membership::name_of(pid, |cgroup| cgroup.contains(&**id))?;
        let (Some(main), Some(cgroup)) = (main, cgroup) else { return Ok(Seen::Elsewhere(name.to_owned())) };
        let image = config.and_then(|config| config.image.as_deref()).unwrap_or_default();
        let policy = container.host_config.as_ref().and_then(|host| host.restart_policy.as_ref()?.name);
        let known = [("container", format!("{id:.12}")), ("image", image.to_owned())];
        let known = known.map(|(key, value)| (key.to_owned(), value));
        let group = rules::group(rule, &labels, image);
        let described = |key: &str| DESCRIPTIONS.iter().any(|prefix| key.starts_with(prefix));
        let theirs = labels.into_iter().filter(|(key, _)| !described(key));
        // With the engine's own driver for cgroups both are the same: there may be many.
        let cgroup = if *cgroup == **id { id.clone() } else { cgroup.into() };
        let extent = Extent { main, cgroup: Some(cgroup) };
        let comes_back = health::vanishes(container).is_none();
        let offered = support::of_supervised(DockerPlatform::TYPE, &extent, comes_back);
        let target = v1::Target {
            id: format!("docker/{}/{name}", self.owner.agent_id),
            incarnation: format!("{}:{}", main.pid, main.start_time),
            platform_type: DockerPlatform::TYPE.to_owned(),
            aggregation_identifier: group,
            name: name.to_owned(),
            agent_id: self.owner.agent_id.clone(),
            host: self.owner.host.clone(),
            pids: vec![main.pid],
            cattle: !matches!(policy, None | Some(Policy::EMPTY | Policy::NO)),
            health: health::health(state).into(),
            actions: offered.map(i32::from).collect(),
            labels: self.owner.labels.clone().into_iter().chain(theirs).chain(known).collect(),
            ..Default::default()
        };
        let handle = Container { engine: self.engine.clone(), id: id.clone() };
        Ok(Seen::Target(Box::new(Subject {
            target,
            main: Some(main),
            cgroup: extent.cgroup,
            supervisor: Some(Arc::new(handle)),
            ..Subject::default()
        })))
    }
}
