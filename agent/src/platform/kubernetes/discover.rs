//! Finds the pods that rules name and whose processes are of this host, and keeps them current by a watch.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use chaos_kitty::v1;
use chaos_kitty_guard::Process;
use clap::ValueEnum as _;
use futures_util::stream::{BoxStream, StreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::WatchEvent;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    KubernetesPlatform, Settings,
    cluster::Cluster,
    handle::PodHandle,
    health,
    rules::{self, Controller, Rule},
    workload::Kind,
};
use crate::{
    host::{cgroup::Extent, container, membership, process},
    platform::{Owner, Platform as _, Publisher, Subject, Targets, listed::Listed, support},
};

/// Pause before an API server that does not answer is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What happens within this time is told as one change.
const SETTLE: Duration = Duration::from_millis(20);

/// The API server does not remember that far back: everything is to be looked at anew.
const EXPIRED: u16 = 410;

type Changes = BoxStream<'static, Result<WatchEvent<Pod>, String>>;

/// Keeps the roster's pods current, for as long as it is polled.
pub(super) async fn watch(owner: Owner, rules: Arc<[Rule]>, settings: &Settings, publisher: Publisher) {
    loop {
        let Err(why) = follow(owner.clone(), rules.clone(), settings, &publisher).await;
        tracing::warn!(why, "the pods can not be seen");
        publisher.lost(why);
        sleep(TRY_AGAIN).await;
    }
}

/// Follows one cluster, until it does not answer.
async fn follow(
    owner: Owner,
    rules: Arc<[Rule]>,
    settings: &Settings,
    publisher: &Publisher,
) -> Result<std::convert::Infallible, String> {
    let cluster = Arc::new(Cluster::connect(settings).await?);
    let mut watch = Watch::new(owner, rules, cluster.clone());
    loop {
        watch.look_at_all().await?;
        tracing::info!(pods = watch.found.len(), "the pods can be seen");
        let mut is_current = true;
        while is_current {
            let mut changes = cluster.changes(&watch.version).await?;
            publish(&watch, publisher);
            while let Some(batch) = batch(&mut changes).await? {
                is_current = watch.take(batch)?;
                publish(&watch, publisher);
            }
        }
    }
}

fn publish(watch: &Watch, publisher: &Publisher) {
    publisher.problem(watch.problem());
    publisher.replace(watch.targets().cloned());
}

/// Waits for a change, and gathers those that follow at once. `None`: the API server ended the stream.
async fn batch(changes: &mut Changes) -> Result<Option<Vec<WatchEvent<Pod>>>, String> {
    let Some(first) = changes.next().await else { return Ok(None) };
    let mut batch = vec![first?];
    let settled = Instant::now() + SETTLE;
    while let Ok(Some(next)) = timeout_at(settled, changes.next()).await {
        batch.push(next?);
    }
    Ok(Some(batch))
}

/// What is known of a cluster's pods.
pub(super) struct Watch {
    owner: Owner,
    rules: Arc<[Rule]>,
    cluster: Arc<Cluster>,
    /// From which changes follow.
    version: String,
    found: Targets,
    /// By target id, the names of those that match, whose processes are not of this host, and that no rule offers anyway.
    elsewhere: BTreeMap<Arc<str>, String>,
}

impl Watch {
    pub(super) fn new(owner: Owner, rules: Arc<[Rule]>, cluster: Arc<Cluster>) -> Self {
        let (found, elsewhere) = (Targets::new(), BTreeMap::new());
        Self { owner, rules, cluster, version: String::new(), found, elsewhere }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Listed>> {
        self.found.values()
    }

    /// Why none of the pods that match is offered. `None`: some are, as many as this node has, or none matches.
    pub(super) fn problem(&self) -> Option<String> {
        let first = self.elsewhere.values().next().filter(|_| self.found.is_empty())?;
        Some(format!(
            "none of the {} pods that match, e.g. {first}, has its processes on this host: run an agent on their nodes, \
             in the host's pid namespace",
            self.elsewhere.len()
        ))
    }

    pub(super) async fn look_at_all(&mut self) -> Result<(), String> {
        self.found.clear();
        self.elsewhere.clear();
        let mut after = None;
        loop {
            let page = self.cluster.pods(after).await?;
            self.look_at(&page.items)?;
            // The same on all pages: they show one moment.
            self.version = page.metadata.resource_version.unwrap_or_default();
            after = page.metadata.continue_.filter(|token| !token.is_empty());
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes changes in. False: too many were missed, everything is to be looked at anew.
    fn take(&mut self, batch: Vec<WatchEvent<Pod>>) -> Result<bool, String> {
        let mut changed = BTreeMap::new();
        for event in batch {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    self.version = pod.metadata.resource_version.clone().unwrap_or_default();
                    changed.insert(uid(&pod).to_owned(), pod);
                }
                WatchEvent::Deleted(pod) => {
                    self.version = pod.metadata.resource_version.clone().unwrap_or_default();
                    changed.remove(uid(&pod));
                    self.forget(&self.id(&pod));
                }
                WatchEvent::Bookmark(mark) => self.version = mark.metadata.resource_version,
                WatchEvent::Error(status) if status.code == EXPIRED => return Ok(false),
                WatchEvent::Error(status) => return Err(format!("the API server: {}", status.message)),
            }
        }
        let pods: Vec<_> = changed.into_values().collect();
        self.look_at(&pods)?;
        Ok(true)
    }

    fn id(&self, pod: &Pod) -> String {
        format!("kubernetes/{}/{}/{}", self.owner.agent_id, namespace(pod), name(pod))
    }

    fn forget(&mut self, id: &str) {
        self.found.remove(id);
        self.elsewhere.remove(id);
    }

    fn look_at(&mut self, pods: &[Pod]) -> Result<(), String> {
        let ids = pods.iter().filter_map(|pod| health::id(self.matching(pod)?.1));
        let mains = mains(&ids.collect()).map_err(|error| format!("looking at /proc: {error}"))?;
        for pod in pods {
            self.forget(&self.id(pod));
            let Some((rule, container)) = self.matching(pod) else { continue };
            let Some(id) = health::id(container) else { continue };
            let main = mains.get(id);
            if main.is_none() && !rule.anywhere {
                self.elsewhere.insert(self.id(pod).into(), name(pod).to_owned());
                continue;
            }
            let listed: Arc<Listed> = self.subject(pod, rule, &container.name, main).into();
            self.found.insert(listed.id().clone(), listed);
        }
        Ok(())
    }

    /// The rule that a pod matches, and the container that faults land on.
    fn matching<'a>(&'a self, pod: &'a Pod) -> Option<(&'a Rule, &'a ContainerStatus)> {
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let rule = rules::rule_of(&self.rules, namespace(pod), labels)?;
        if controller(pod).is_some_and(Controller::is_job) {
            return None;
        }
        Some((rule, health::container(pod, rule.container.as_deref())?))
    }

    fn subject(&self, pod: &Pod, rule: &Rule, container: &str, main: Option<&Main>) -> Subject {
        let (namespace, name) = (namespace(pod).to_owned(), name(pod).to_owned());
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let controller = controller(pod);
        let top = controller.map(|controller| controller.top(&labels));
        let group = rule.group.as_deref().or(top.map(|top| top.name)).unwrap_or(&name).to_owned();
        let workload = top.and_then(|top| {
            let kind = Kind::from_str(top.kind, false).ok()?;
            Some((kind, top.name.into()))
        });
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let known =
            [("container", container), ("namespace", &namespace), ("node", node), ("pod-uid", uid(pod))];
        let known = known.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let process = main.map(|main| main.process);
        let extent =
            main.map(|main| Extent { main: main.process, cgroup: Some(main.cgroup.as_str().into()) });
        let target = v1::Target {
            id: self.id(pod),
            // A container that is started again in the same pod is another life, and its main process may be a target
            // of another platform too: by these words it is known as the same.
            incarnation: process
                .map_or_else(|| uid(pod).to_owned(), |main| format!("{}:{}", main.pid, main.start_time)),
            platform_type: KubernetesPlatform::TYPE.to_owned(),
            aggregation_identifier: group,
            name: name.clone(),
            agent_id: self.owner.agent_id.clone(),
            host: if main.is_some() { self.owner.host.clone() } else { node.to_owned() },
            pids: process.iter().map(|main| main.pid).collect(),
            cattle: controller.is_some(),
            health: health::health(pod).into(),
            actions: support::of_pod(extent.as_ref(), workload.is_some(), controller.is_some())
                .map(i32::from)
                .collect(),
            labels: self.owner.labels.clone().into_iter().chain(labels).chain(known).collect(),
            ..Default::default()
        };
        let handle = PodHandle {
            cluster: self.cluster.clone(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid(pod).into(),
            workload,
            controller: controller.map(|controller| controller.kind.into()),
        };
        let cgroup = extent.and_then(|extent| extent.cgroup);
        Subject { target, main: process, cgroup, pod: Some(Arc::new(handle)), ..Subject::default() }
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn controller(pod: &Pod) -> Option<Controller<'_>> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let made_it = owners.into_iter().find(|owner| owner.controller == Some(true))?;
    Some(Controller { kind: &made_it.kind, name: &made_it.name })
}

/// The main process of a container, and the name of the cgroup that it is in.
struct Main {
    process: Process,
    cgroup: String,
}

/// The main processes of those of these containers that are of this host: in each one's cgroup, the process that
/// started first. The API tells no pids.
///
/// # Errors
/// A process may be theirs and cannot be looked at.
fn mains(ids: &HashSet<&str>) -> io::Result<HashMap<String, Main>> {
    let mut mains: HashMap<String, Main> = HashMap::new();
    if ids.is_empty() {
        return Ok(mains);
    }
    for pid in process::pids()? {
        // Before its cgroup is looked at: if that is the container's, so is the process.
        let Some(process) = Process::find(pid)? else { continue };
        let is_theirs = |cgroup: &str| ids.contains(container::id(cgroup));
        let Some(cgroup) = membership::name_of(pid, is_theirs)? else { continue };
        let id = container::id(&cgroup);
        let started = |process: &Process| (process.start_time, process.pid);
        if mains.get(id).is_none_or(|main| started(&process) < started(&main.process)) {
            mains.insert(id.to_owned(), Main { process, cgroup });
        }
    }
    Ok(mains)
}
