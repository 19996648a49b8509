//! The targets that one operation draws from.

use std::{collections::HashMap, sync::Arc};

use chaos_kitty::v1::Target;

/// Targets ordered by name, then id, so that a draw depends on nothing else.
#[derive(Debug, Default)]
pub(super) struct Roster {
    ordered: Vec<Arc<Target>>,
    /// Name by id, to find a target again.
    names: HashMap<String, String>,
}

impl Roster {
    /// Adds a target, in place of the one of that id.
    pub(super) fn insert(&mut self, target: &Arc<Target>) {
        self.remove(&target.id);
        let at = self.position(&target.name, &target.id).unwrap_or_else(|at| at);
        self.ordered.insert(at, Arc::clone(target));
        self.names.insert(target.id.clone(), target.name.clone());
    }

    /// Forgets the target of that id, if it is there.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(name) = self.names.remove(id) else { return };
        if let Ok(at) = self.position(&name, id) {
            self.ordered.remove(at);
        }
    }

    /// All of them, in order.
    pub(super) fn as_slice(&self) -> &[Arc<Target>] {
        &self.ordered
    }

    fn position(&self, name: &str, id: &str) -> Result<usize, usize> {
        self.ordered.binary_search_by(|it| (it.name.as_str(), it.id.as_str()).cmp(&(name, id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str, name: &str) -> Arc<Target> {
        Arc::new(Target { id: id.into(), name: name.into(), ..Target::default() })
    }

    #[test]
    fn targets_stand_by_name_and_one_id_stands_once() {
        let mut roster = Roster::default();
        for (id, name) in [("3", "b"), ("1", "c"), ("2", "b"), ("1", "a")] {
            roster.insert(&target(id, name));
        }
        roster.remove("never seen");
        let ids = |roster: &Roster| roster.as_slice().iter().map(|it| it.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&roster), ["1", "2", "3"]);
        roster.remove("2");
        assert_eq!(ids(&roster), ["1", "3"]);
    }
}
