//! Who can be hit, now: every target with its indexes. Pure: the caller brings the time and tells watchers.

use std::{
    borrow::Borrow,
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::Arc,
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem,
    v1::{Selector, Target, target_health::State},
};
use prost::Message as _;
use tokio::time::Instant;

use super::peak::Peak;

/// (platform, aggregation identifier).
pub(crate) type GroupKey = (String, String);

/// Host and incarnation of a process.
pub(crate) type Process = (String, String);

/// Lives that ended with their nodes are remembered up to this number; then all are forgotten.
const OVER: usize = 10_000;

/// Names listed in a message about an ambiguity, or about who of a group is gone.
const LISTED: usize = 5;

/// Agents of a group that are remembered from an earlier start of the server.
const REMEMBERED: usize = 16;

#[derive(Debug)]
struct Entry {
    target: Arc<Target>,
    /// Since when it can not be hit, though it is known: its node is away, or can not see it. `None`: it can be.
    hidden: Option<Instant>,
    /// Since when its health is as it is.
    since: SystemTime,
}

impl Entry {
    const fn is_reachable(&self) -> bool {
        self.hidden.is_none()
    }
}

/// The targets of a node.
#[derive(Debug, Default)]
struct Owned {
    ids: HashSet<String>,
    /// Of all of them, as they came.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Group {
    /// Ids of those that are reachable.
    members: BTreeSet<String>,
    /// How many of them are alive.
    alive: usize,
    peak: Peak,
    /// Names of those that left last, and when.
    left: VecDeque<(String, Instant)>,
    /// Agents that had members of it in an earlier start of the server.
    agents: BTreeSet<String>,
    /// Its size as an earlier start of the server last knew it; 0: it did not.
    expected: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Roster {
    entries: HashMap<String, Entry>,
    names: HashMap<String, BTreeSet<String>>,
    groups: HashMap<GroupKey, Group>,
    nodes: HashMap<String, Owned>,
    /// Ids of the targets that are this process: it may be seen by several platforms.
    processes: HashMap<Process, BTreeSet<String>>,
    /// How long the largest size of a group counts, and how long those that are away are known.
    window: Duration,
    /// Lives that ended with their node, by target id: nobody is left to say so.
    over: HashMap<String, String>,
}

/// What an upsert changed.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// Nobody had it, or its node was away.
    Added,
    /// Another life of the target, the earlier one is over.
    Reborn(Arc<Target>),
    /// The same target in the same life, with something else said of it.
    Changed,
    /// Nothing.
    Same,
}

/// A group as the safety rules see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupView {
    /// Platform and name.
    pub(crate) key: GroupKey,
    /// Those that are reachable, in no order.
    pub(crate) members: Vec<Arc<Target>>,
    /// The most of it that were alive at one moment within the survivors' window.
    pub(crate) peak: usize,
    /// When that was so for the last time.
    pub(crate) peak_at: Option<Instant>,
    /// Names of some of those that left since then.
    pub(crate) left: Vec<String>,
    /// Agents that had members of it in an earlier start of the server.
    pub(crate) agents: Vec<String>,
    /// Its size as an earlier start of the server last knew it; 0: it did not.
    pub(crate) expected: usize,
}

impl Roster {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            names: HashMap::new(),
            groups: HashMap::new(),
            nodes: HashMap::new(),
            processes: HashMap::new(),
            window,
            over: HashMap::new(),
        }
    }

    /// Takes a target in.
    ///
    /// # Errors
    /// The agent that offers a target of this id already.
    pub(super) fn upsert(&mut self, target: Arc<Target>, now: Instant) -> Result<Change, String> {
        let known = self.entries.get(&target.id);
        if let Some(known) = known
            && known.is_reachable()
            && known.target.agent_id != target.agent_id
        {
            return Err(known.target.agent_id.clone());
        }
        let change = match known {
            Some(Entry { target: known, hidden: None, .. }) if *known == target => Change::Same,
            Some(Entry { target: known, hidden: None, .. }) if known.incarnation == target.incarnation => {
                Change::Changed
            }
            Some(Entry { target: known, hidden: None, .. }) => Change::Reborn(known.clone()),
            _ => Change::Added,
        };
        let since = match known {
            Some(known) if known.is_reachable() && known.target.health == target.health => known.since,
            _ => SystemTime::now(),
        };
        if known.is_some() {
            self.remove(&target.id.clone(), now);
        }
        self.names.entry(target.name.clone()).or_default().insert(target.id.clone());
        let owned = self.nodes.entry(target.agent_id.clone()).or_default();
        owned.ids.insert(target.id.clone());
        owned.bytes = owned.bytes.saturating_add(target.encoded_len());
        if let Some(process) = process(&target) {
            self.processes.entry(process).or_default().insert(target.id.clone());
        }
        self.join(&target, now);
        self.entries.insert(target.id.clone(), Entry { target, hidden: None, since });
        Ok(change)
    }

    /// Forgets a target. Gives it if it was reachable.
    pub(super) fn remove(&mut self, id: &str, now: Instant) -> Option<Arc<Target>> {
        let entry = self.entries.remove(id)?;
        let target = entry.target;
        forget(&mut self.names, &target.name, |ids| {
            ids.remove(id);
            ids.is_empty()
        });
        forget(&mut self.nodes, &target.agent_id, |owned| {
            owned.ids.remove(id);
            owned.bytes = owned.bytes.saturating_sub(target.encoded_len());
            owned.ids.is_empty()
        });
        if let Some(process) = process(&target) {
            forget(&mut self.processes, &process, |ids| {
                ids.remove(id);
                ids.is_empty()
            });
        }
        if entry.hidden.is_none() {
            self.leave(&target, now);
        }
        entry.hidden.is_none().then_some(target)
    }

    /// The target ended with its node: this life of it does not come back.
    pub(super) fn end(&mut self, id: &str, now: Instant) {
        let Some(incarnation) = self.entries.get(id).map(|entry| entry.target.incarnation.clone()) else {
            return;
        };
        if self.over.len() >= OVER {
            self.over.clear();
        }
        self.over.insert(id.to_owned(), incarnation);
        drop(self.remove(id, now));
    }

    /// Whether this life of a target ended with its node.
    pub(super) fn has_ended(&self, target: &Target) -> bool {
        self.over.get(&target.id) == Some(&target.incarnation)
    }

    /// Nothing is known of a target for now: it stays known, but can not be hit. Gives it if it could be.
    pub(super) fn hide(&mut self, id: &str, now: Instant) -> Option<Arc<Target>> {
        let entry = self.entries.get_mut(id).filter(|entry| entry.is_reachable())?;
        entry.hidden = Some(now);
        let target = entry.target.clone();
        self.leave(&target, now);
        Some(target)
    }

    /// The node is away: its targets are. Gives those that could be hit.
    pub(super) fn hide_all_of(&mut self, node: &str, now: Instant) -> Vec<Arc<Target>> {
        self.of_node(node).iter().filter_map(|id| self.hide(id, now)).collect()
    }

    /// Forgets those of a node that are hidden, unless they are of these platforms: it sees the others, and has them no more.
    pub(super) fn drop_hidden(&mut self, node: &str, blind: &[String], now: Instant) -> Vec<Arc<Target>> {
        let mut dropped = Vec::new();
        for id in self.of_node(node) {
            let Some(entry) = self.entries.get(&id).filter(|entry| !entry.is_reachable()) else { continue };
            if !blind.contains(&entry.target.platform_type) {
                dropped.push(entry.target.clone());
                drop(self.remove(&id, now));
            }
        }
        dropped
    }

    /// Ids of a node's targets.
    pub(super) fn of_node(&self, node: &str) -> Vec<String> {
        self.nodes.get(node).into_iter().flat_map(|owned| &owned.ids).cloned().collect()
    }

    /// Whether this target is the node's.
    pub(super) fn belongs(&self, id: &str, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|owned| owned.ids.contains(id))
    }

    /// Whether a target, be it hidden, is of one of these platforms.
    pub(super) fn is_of(&self, id: &str, platforms: &[String]) -> bool {
        self.entries.get(id).is_some_and(|entry| platforms.contains(&entry.target.platform_type))
    }

    /// How many targets a node has.
    pub(super) fn count_of(&self, node: &str) -> usize {
        self.nodes.get(node).map_or(0, |owned| owned.ids.len())
    }

    /// Bytes of a node's targets.
    pub(super) fn bytes_of(&self, node: &str) -> usize {
        self.nodes.get(node).map_or(0, |owned| owned.bytes)
    }

    /// A reachable target by its id.
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Target>> {
        self.entries.get(id).filter(|entry| entry.is_reachable()).map(|entry| &entry.target)
    }

    /// Since when a reachable target's health is as it is.
    pub(super) fn since(&self, id: &str) -> Option<SystemTime> {
        self.entries.get(id).filter(|entry| entry.is_reachable()).map(|entry| entry.since)
    }

    /// All reachable targets, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.entries.values().filter(|entry| entry.is_reachable()).map(|entry| &entry.target)
    }

    /// The target of an id, of a unique name, or of `process/HOST/RULE` where that matches exactly one.
    ///
    /// # Errors
    /// [`Code::NoSuchTarget`], [`Code::Ambiguous`] with candidates, [`Code::AgentUnreachable`].
    pub(super) fn resolve(&self, wanted: &str) -> Result<Arc<Target>, Problem> {
        let mut found = self.matches(wanted);
        found.sort_by(|a, b| a.target.id.cmp(&b.target.id));
        match found[..] {
            [entry] if entry.is_reachable() => Ok(entry.target.clone()),
            [entry] => {
                let message = format!(
                    "target {wanted:?} is away: its agent {:?} is not connected, or can not see it now",
                    entry.target.agent_id
                );
                Err(Problem::new(Code::AgentUnreachable, message)
                    .hint("see `kittyctl agent list` and `kittyctl platform list`; it may come back"))
            }
            [] => Err(Problem::new(Code::NoSuchTarget, format!("there is no target {wanted:?}"))
                .hint("kittyctl target list shows those there are")),
            _ => {
                let ids: Vec<_> = found.iter().take(LISTED).map(|entry| entry.target.id.as_str()).collect();
                let more = found.len().saturating_sub(LISTED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let message = format!("{wanted:?} fits {} targets: {}{more}", found.len(), ids.join(", "));
                Err(Problem::new(Code::Ambiguous, message).hint("name one by its id"))
            }
        }
    }

    fn matches(&self, wanted: &str) -> Vec<&Entry> {
        if let Some(entry) = self.entries.get(wanted) {
            return vec![entry];
        }
        let entry = |id: &String| self.entries.get(id);
        if let Some(ids) = self.names.get(wanted) {
            // A name that only one reachable target has is unique enough.
            let named: Vec<_> = ids.iter().filter_map(entry).collect();
            let reachable: Vec<_> = named.iter().copied().filter(|entry| entry.is_reachable()).collect();
            return if reachable.is_empty() { named } else { reachable };
        }
        let Some((host, rule)) = wanted.strip_prefix("process/").and_then(|rest| rest.split_once('/')) else {
            return Vec::new();
        };
        let group = self.groups.get(&("ProcessPlatform".to_owned(), rule.to_owned()));
        let members = group.into_iter().flat_map(|group| &group.members).filter_map(entry);
        members.filter(|entry| entry.target.host == host || entry.target.agent_id == host).collect()
    }

    /// The reachable targets that a selector means, ordered by name and id.
    ///
    /// # Errors
    /// [`Code::UnknownPlatform`]; [`Code::Ambiguous`]: the group is on several platforms.
    pub(super) fn select(&self, selector: &Selector) -> Result<Vec<Arc<Target>>, Problem> {
        let Selector { platform_type: platform, aggregation_identifier: group, labels } = selector;
        let fits = |target: &Target| labels.iter().all(|(key, value)| target.labels.get(key) == Some(value));
        let mut found: Vec<Arc<Target>> = if group.is_empty() {
            let of_platform =
                |target: &&Arc<Target>| platform.is_empty() || target.platform_type == *platform;
            self.all().filter(of_platform).filter(|target| fits(target)).cloned().collect()
        } else {
            let key = self.group_key(platform, group)?;
            let members = key.and_then(|key| self.groups.get(&key)).into_iter().flat_map(|g| &g.members);
            members.filter_map(|id| self.get(id)).filter(|target| fits(target)).cloned().collect()
        };
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(found)
    }

    fn group_key(&self, platform: &str, group: &str) -> Result<Option<GroupKey>, Problem> {
        if !platform.is_empty() {
            return Ok(Some((platform.to_owned(), group.to_owned())));
        }
        let mut keys: Vec<_> = self
            .groups
            .iter()
            .filter(|(key, g)| key.1 == group && !g.members.is_empty())
            .map(|(key, _)| key)
            .collect();
        keys.sort();
        match keys[..] {
            [] => Ok(None),
            [key] => Ok(Some(key.clone())),
            _ => {
                let platforms: Vec<_> = keys.iter().map(|key| key.0.as_str()).collect();
                let message = format!("group {group:?} is on several platforms: {}", platforms.join(", "));
                Err(Problem::new(Code::Ambiguous, message).hint("name one with --platform"))
            }
        }
    }

    /// The group that a target belongs to; `None` for one that belongs to none.
    pub(super) fn group_of(&self, target: &Target, now: Instant) -> Option<GroupView> {
        let key = key(target)?;
        let group = self.groups.get(&key)?;
        let members: Vec<_> = group.members.iter().filter_map(|id| self.get(id)).cloned().collect();
        let (peak, at) = group.peak.within(self.window, now);
        let left = group.left.iter().rev().filter(|(_, left_at)| *left_at >= at);
        Some(GroupView {
            key,
            members,
            peak: peak.max(group.alive),
            peak_at: (peak > group.alive).then_some(at),
            left: left.map(|(name, _)| name.clone()).collect(),
            agents: group.agents.iter().cloned().collect(),
            expected: group.expected,
        })
    }

    /// The groups that are hurt when the target is, its own first: its process may be in others under another
    /// name.
    pub(super) fn groups_of(&self, target: &Target, now: Instant) -> Vec<GroupView> {
        let twins = process(target).and_then(|process| self.processes.get(&process)).into_iter().flatten();
        let twins = twins.filter_map(|id| self.get(id)).map(AsRef::as_ref);
        let mut groups: Vec<GroupView> = Vec::new();
        for member in std::iter::once(target).chain(twins) {
            if key(member).is_some_and(|key| groups.iter().all(|group| group.key != key)) {
                groups.extend(self.group_of(member, now));
            }
        }
        groups
    }

    /// An earlier start of the server knew a group of this size, at that time, and a member of it with that agent.
    pub(super) fn remember(&mut self, key: GroupKey, size: usize, at: Instant, agent: &str) {
        let group = self.groups.entry(key).or_default();
        if group.agents.len() < REMEMBERED {
            group.agents.insert(agent.to_owned());
        }
        group.peak.record(size, self.window, at);
        group.expected = size;
    }

    fn join(&mut self, target: &Target, now: Instant) {
        let Some(key) = key(target) else { return };
        let group = self.groups.entry(key).or_default();
        if group.members.insert(target.id.clone()) {
            group.alive += usize::from(is_alive(target));
        }
        group.left.retain(|(name, _)| *name != target.name);
        group.peak.record(group.alive, self.window, now);
    }

    fn leave(&mut self, target: &Target, now: Instant) {
        let Some(key) = key(target) else { return };
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.peak.record(group.alive, self.window, now);
        if group.members.remove(&target.id) {
            group.alive = group.alive.saturating_sub(usize::from(is_alive(target)));
        }
        group.left.push_back((target.name.clone(), now));
        if group.left.len() > LISTED {
            group.left.pop_front();
        }
        group.peak.record(group.alive, self.window, now);
    }

    /// Forgets who has been away, and groups that nobody has belonged to, for as long as the window.
    pub(super) fn prune(&mut self, now: Instant) {
        let window = self.window;
        let is_old = |entry: &&Entry| entry.hidden.is_some_and(|since| now.duration_since(since) > window);
        let old: Vec<_> = self.entries.values().filter(is_old).map(|entry| entry.target.id.clone()).collect();
        old.iter().for_each(|id| drop(self.remove(id, now)));
        self.groups.retain(|_, group| !group.members.is_empty() || group.peak.within(window, now).0 > 0);
    }
}

/// The process that a target is, where its platform names one.
pub(crate) fn process(target: &Target) -> Option<Process> {
    (!target.pids.is_empty() && target.incarnation.contains(':'))
        .then(|| (target.host.clone(), target.incarnation.clone()))
}

/// What its platform says is gone does not make its group larger.
fn is_alive(target: &Target) -> bool {
    target.health() != State::DoesNotExist
}

fn key(target: &Target) -> Option<GroupKey> {
    let group = &target.aggregation_identifier;
    (!group.is_empty()).then(|| (target.platform_type.clone(), group.clone()))
}

/// Changes the entry of a key, and drops it when the change says that it is empty.
fn forget<K, Q, V>(map: &mut HashMap<K, V>, key: &Q, change: impl FnOnce(&mut V) -> bool)
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    if map.get_mut(key).is_some_and(change) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests;
