//! Finds the services that rules name, and keeps them current by systemd's signals.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use chaos_kitty::v1;
use chaos_kitty_guard::Process;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::sleep,
};
use zbus::{Message, OwnedObjectPath};

use super::{
    SystemdPlatform,
    handle::{Manager, UNITS, Unit},
    health::Service,
    rules::{self, Rule},
};
use crate::{
    host::{cgroup::Extent, membership},
    platform::{Owner, Platform as _, Publisher, Subject, listed::Listed, support},
};

/// Pause before a systemd that does not answer is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What happens within this time is told as one change.
const SETTLE: Duration = Duration::from_millis(20);

/// Units that may wait to be looked at.
const CHANGES: usize = 4096;

/// Keeps the roster's services current, for as long as it is polled.
pub(super) async fn watch(owner: Owner, rules: Arc<[Rule]>, publisher: Publisher) {
    loop {
        let Err(why) = follow(owner.clone(), rules.clone(), &publisher).await;
        tracing::warn!(why, "the services can not be seen");
        publisher.lost(why);
        sleep(TRY_AGAIN).await;
    }
}

/// Follows one connection, until it breaks.
async fn follow(owner: Owner, rules: Arc<[Rule]>, publisher: &Publisher) -> Result<Infallible, String> {
    let manager = Manager::connect().await?;
    let (sender, mut changes) = mpsc::channel(CHANGES);
    let mut listening = JoinSet::new();
    listening.spawn(listen(manager.signals().await?, rules.clone(), sender));
    let mut watch = Watch::new(owner, rules, manager);
    watch.look_at_all().await?;
    tracing::info!(services = watch.found.len(), "the services can be seen");
    loop {
        publisher.problem(None);
        publisher.replace(watch.targets().cloned());
        let first = changes.recv().await.ok_or_else(|| "D-Bus closed the connection".to_owned())?;
        sleep(SETTLE).await;
        let mut changed = BTreeSet::from([first]);
        while let Ok(more) = changes.try_recv() {
            changed.insert(more);
        }
        if changed.contains(&Change::All) {
            watch.look_at_all().await?;
        } else {
            let paths = changed.into_iter().filter_map(|change| match change {
                Change::Of(path) => Some(path),
                Change::All => None,
            });
            watch.look_at(paths).await?;
        }
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// All units: their files were read anew, or too many changed at once to tell.
    All,
    /// The unit at this path.
    Of(String),
}

/// Passes on which units that match a rule have changed. Ends with the connection, or when nobody listens.
async fn listen(
    mut signals: BoxStream<'static, zbus::Result<Message>>,
    rules: Arc<[Rule]>,
    changes: mpsc::Sender<Change>,
) {
    let mut all = false;
    while let Some(Ok(signal)) = signals.next().await {
        all |= match change(&signal).filter(|change| is_wanted(change, &rules)) {
            None => continue,
            Some(Change::All) => true,
            Some(one) => match changes.try_send(one) {
                Ok(()) => continue,
                Err(TrySendError::Closed(_)) => return,
                Err(TrySendError::Full(_)) => true,
            },
        };
        if all && changes.try_send(Change::All).is_ok() {
            all = false;
        }
    }
}

fn change(signal: &Message) -> Option<Change> {
    let header = signal.header();
    match header.member()?.as_str() {
        "PropertiesChanged" => Some(Change::Of(header.path()?.to_string())),
        "UnitNew" | "UnitRemoved" => {
            let (_, path): (String, OwnedObjectPath) = signal.body().deserialize().ok()?;
            Some(Change::Of(path.to_string()))
        }
        "Reloading" => signal.body().deserialize::<bool>().ok().filter(|begins| !begins).map(|_| Change::All),
        _ => None,
    }
}

fn is_wanted(change: &Change, rules: &[Rule]) -> bool {
    match change {
        Change::All => true,
        Change::Of(path) => unit_name(path).is_some_and(|unit| rules::rule_of(rules, &unit).is_some()),
    }
}

/// The name of the unit at a path: what is no letter or digit is written as `_` and two hexadecimal digits.
fn unit_name(path: &str) -> Option<String> {
    let label = path.strip_prefix(UNITS)?.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.as_bytes();
    while let [first, more @ ..] = rest {
        if *first == b'_' {
            let code = more.get(..2).and_then(|code| str::from_utf8(code).ok())?;
            bytes.push(u8::from_str_radix(code, 16).ok()?);
            rest = more.get(2..)?;
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).ok()
}

/// What is known of this host's services.
pub(super) struct Watch {
    owner: Owner,
    rules: Arc<[Rule]>,
    manager: Manager,
    /// By the path of the unit.
    found: BTreeMap<String, Arc<Listed>>,
}

impl Watch {
    pub(super) fn new(owner: Owner, rules: Arc<[Rule]>, manager: Manager) -> Self {
        Self { owner, rules, manager, found: BTreeMap::new() }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Listed>> {
        self.found.values()
    }

    pub(super) async fn look_at_all(&mut self) -> Result<(), String> {
        let units = self.manager.units().await?;
        self.found.retain(|path, _| units.contains(path));
        self.look_at(units).await
    }

    async fn look_at(&mut self, paths: impl IntoIterator<Item = String>) -> Result<(), String> {
        for path in paths {
            let Some(name) = unit_name(&path) else { continue };
            let Some(rule) = rules::rule_of(&self.rules, &name) else { continue };
            let service = self.manager.service(&path).await?;
            let found = service.map(|service| subject(&self.owner, rule, &name, &path, &service)).transpose();
            match found.map_err(|error| format!("the processes of {name}: {error}"))?.flatten() {
                Some(subject) => drop(self.found.insert(path, subject.into())),
                None => drop(self.found.remove(&path)),
            }
        }
        Ok(())
    }
}

/// The service as a target. `None`: it has no main process on this host.
fn subject(
    owner: &Owner,
    rule: &Rule,
    name: &str,
    path: &str,
    service: &Service,
) -> io::Result<Option<Subject>> {
    let (Some(pid), Some(cgroup)) = (service.main_pid(), service.cgroup()) else { return Ok(None) };
    // Before the cgroup is looked at: if that is the unit's, so is the process.
    let Some(main) = Process::find(pid)? else { return Ok(None) };
    if membership::name_of(pid, |own| own == cgroup)?.is_none() {
        return Ok(None);
    }
    let known = ("unit".to_owned(), name.to_owned());
    let extent = Extent { main, cgroup: Some(cgroup.into()) };
    let comes_back = service.vanishes(|file| Path::new(file).exists()).is_none();
    let offered = support::of_supervised(SystemdPlatform::TYPE, &extent, comes_back);
    let target = v1::Target {
        id: format!("systemd/{}/{name}", owner.agent_id),
        incarnation: format!("{}:{}", main.pid, main.start_time),
        platform_type: SystemdPlatform::TYPE.to_owned(),
        aggregation_identifier: rules::group(rule, name),
        name: name.to_owned(),
        agent_id: owner.agent_id.clone(),
        host: owner.host.clone(),
        pids: vec![main.pid],
        cattle: service.is_cattle(),
        health: service.health().into(),
        actions: offered.map(i32::from).collect(),
        labels: owner.labels.clone().into_iter().chain([known]).collect(),
        ..Default::default()
    };
    let handle = Unit { name: name.to_owned(), path: path.to_owned() };
    Ok(Some(Subject {
        target,
        main: Some(main),
        cgroup: extent.cgroup,
        supervisor: Some(Arc::new(handle)),
        ..Subject::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_name_is_read_from_its_path() {
        let at = |label: &str| unit_name(&format!("{UNITS}/{label}"));
        assert_eq!(at("nginx_2eservice").as_deref(), Some("nginx.service"));
        assert_eq!(at("web_401_2eservice").as_deref(), Some("web@1.service"));
        assert_eq!(at("a_2"), None);
        assert_eq!(at("a_zz"), None);
        assert_eq!(unit_name("/elsewhere/x"), None);
    }
}
