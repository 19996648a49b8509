//! Who is hurt: targets that an action is under way to, or in force on, with indexes.

use std::collections::HashMap;

use chaos_kitty::v1::Target;

use super::rules::{Process, Resource, process};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wounds {
    actions: HashMap<String, Wound>,
    targets: HashMap<String, Vec<String>>,
    processes: HashMap<Process, Vec<String>>,
}

#[derive(Debug)]
struct Wound {
    target_id: String,
    process: Option<Process>,
    resource: Option<Resource>,
}

impl Wounds {
    /// How many actions there are.
    pub(super) fn len(&self) -> usize {
        self.actions.len()
    }

    pub(super) fn add(
        &mut self,
        action: &str,
        target: &str,
        process: Option<Process>,
        resource: Option<Resource>,
    ) {
        self.targets.entry(target.to_owned()).or_default().push(action.to_owned());
        if let Some(process) = &process {
            self.processes.entry(process.clone()).or_default().push(action.to_owned());
        }
        self.actions.insert(action.to_owned(), Wound { target_id: target.to_owned(), process, resource });
    }

    pub(super) fn remove(&mut self, action: &str) {
        let Some(wound) = self.actions.remove(action) else { return };
        drop_from(&mut self.targets, &wound.target_id, action);
        if let Some(process) = &wound.process {
            drop_from(&mut self.processes, process, action);
        }
    }

    /// Whether anything is under way to a target of this id.
    pub(super) fn has(&self, target_id: &str) -> bool {
        self.targets.contains_key(target_id)
    }

    /// Whether anything is under way to the target, or to its process under another name.
    pub(super) fn is_hurt(&self, target: &Target) -> bool {
        self.of(target).next().is_some()
    }

    /// The action that holds this resource of the target.
    pub(super) fn holder(&self, target: &Target, resource: Resource) -> Option<String> {
        self.of(target)
            .find(|action| self.actions.get(*action).is_some_and(|wound| wound.resource == Some(resource)))
            .cloned()
    }

    fn of(&self, target: &Target) -> impl Iterator<Item = &String> {
        let by_process = process(target).and_then(|process| self.processes.get(&process));
        self.targets.get(&target.id).into_iter().chain(by_process).flatten()
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
