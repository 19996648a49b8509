//! Who is hurt: targets that an action is under way to, or in force on, with indexes.

use std::{
    collections::{BTreeSet, HashMap},
    time::SystemTime,
};

use chaos_kitty::v1::Target;

use super::rules::Resource;
use crate::fleet::{GroupKey, GroupView, Process, process};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wounds {
    actions: HashMap<String, Wound>,
    targets: HashMap<String, Vec<String>>,
    processes: HashMap<Process, Vec<String>>,
    groups: HashMap<GroupKey, Vec<String>>,
}

/// What an action hurts.
#[derive(Debug)]
pub(super) struct Wound {
    pub(super) target_id: String,
    pub(super) process: Option<Process>,
    pub(super) group: Option<GroupKey>,
    pub(super) resource: Option<Resource>,
    /// How many of the group it leaves at the least. `None`: it hits its target alone.
    pub(super) leaves: Option<usize>,
    pub(super) since: SystemTime,
    /// When its fault ends at the latest, where that is known.
    pub(super) until: Option<SystemTime>,
}

impl Wounds {
    /// How many actions there are.
    pub(super) fn len(&self) -> usize {
        self.actions.len()
    }

    pub(super) fn add(&mut self, action: &str, wound: Wound) {
        self.remove(action);
        let add = |actions: &mut Vec<String>| actions.push(action.to_owned());
        add(self.targets.entry(wound.target_id.clone()).or_default());
        if let Some(group) = &wound.group {
            add(self.groups.entry(group.clone()).or_default());
        }
        if let Some(process) = &wound.process {
            add(self.processes.entry(process.clone()).or_default());
        }
        self.actions.insert(action.to_owned(), wound);
    }

    pub(super) fn remove(&mut self, action: &str) {
        let Some(wound) = self.actions.remove(action) else { return };
        drop_from(&mut self.targets, &wound.target_id, action);
        if let Some(group) = &wound.group {
            drop_from(&mut self.groups, group, action);
        }
        if let Some(process) = &wound.process {
            drop_from(&mut self.processes, process, action);
        }
    }

    /// Whether anything is under way to a target of this id.
    pub(super) fn has(&self, target_id: &str) -> bool {
        self.targets.contains_key(target_id)
    }

    /// Actions on the target, or on its process under another name.
    pub(super) fn of(&self, target: &Target) -> impl Iterator<Item = &String> {
        let by_process = process(target).and_then(|process| self.processes.get(&process));
        self.targets.get(&target.id).into_iter().chain(by_process).flatten()
    }

    /// What the action hurts.
    pub(super) fn get(&self, action: &str) -> Option<&Wound> {
        self.actions.get(action)
    }

    /// Actions on members of a group, those that are away included.
    pub(super) fn in_group(&self, group: &GroupView) -> usize {
        let own = self.groups.get(&group.key).into_iter().flatten();
        if self.actions.is_empty() {
            return 0;
        }
        own.chain(group.members.iter().flat_map(|member| self.of(member))).collect::<BTreeSet<_>>().len()
    }

    /// How many of a group all actions on it leave at the least.
    pub(super) fn leaves(&self, group: &GroupKey) -> usize {
        let actions = self.groups.get(group).into_iter().flatten();
        actions.filter_map(|action| self.actions.get(action)?.leaves).min().unwrap_or(usize::MAX)
    }

    /// The action that holds this resource of the target.
    pub(super) fn holder(&self, target: &Target, resource: Resource) -> Option<String> {
        self.of(target)
            .find(|action| self.actions.get(*action).is_some_and(|wound| wound.resource == Some(resource)))
            .cloned()
    }
}

fn drop_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Vec<String>>, key: &K, action: &str) {
    if let Some(actions) = index.get_mut(key) {
        actions.retain(|other| other != action);
        if actions.is_empty() {
            index.remove(key);
        }
    }
}
