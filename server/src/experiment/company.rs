//! Whether a group is as well as it was, but for a suite's own victims: those do not count against each other.

use std::collections::{BTreeMap, HashMap, hash_map::Entry as Slot};

use chaos_kitty::v1::Target;

use super::{entry::Entry, life::Presence, port::Port};

/// What groups are like in one look at many experiments: each is counted once.
#[derive(Default)]
pub(super) struct Companies(HashMap<(i64, String, String), Company>);

struct Company {
    /// How many of the group are well.
    well: usize,
    /// Ids of the suite's experiments whose targets are there and not well, or away.
    ill: Vec<String>,
    /// Of those whose targets are gone. What comes instead of them comes for the first of these first.
    gone: Vec<String>,
}

impl Companies {
    /// Whether the group of an experiment's target is as well as it was.
    pub(super) fn is_back(&mut self, port: &dyn Port, active: &BTreeMap<String, Entry>, id: &str) -> bool {
        let Some(entry) = active.get(id) else { return false };
        let target = &entry.target;
        let key = (entry.suite(), target.platform_type.clone(), place(target).to_owned());
        let company = match self.0.entry(key) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(Company::of(port, active, entry)),
        };
        company.well_but_for_victims(id) >= entry.company
    }
}

impl Company {
    fn of(port: &dyn Port, active: &BTreeMap<String, Entry>, one: &Entry) -> Self {
        let is_peer =
            |entry: &Entry| entry.suite() == one.suite() && is_neighbour(&entry.target, &one.target);
        let (mut ill, mut gone) = (Vec::new(), Vec::new());
        for (id, entry) in active.iter().filter(|(_, entry)| is_peer(entry)) {
            match entry.presence {
                Presence::Well => {}
                Presence::Unwell | Presence::Away => ill.push(id.clone()),
                Presence::Gone => gone.push(id.clone()),
            }
        }
        Self { well: port.company(&one.target), ill, gone }
    }

    /// How many are well, or would be but for the suite's other experiments.
    fn well_but_for_victims(&self, id: &str) -> usize {
        let is_ill = usize::from(self.ill.binary_search_by(|it| it.as_str().cmp(id)).is_ok());
        let later = self.gone.len() - self.gone.partition_point(|it| it.as_str() <= id);
        self.well + self.ill.len() - is_ill + later
    }
}

/// What the health of a target is judged with: its group, or itself.
pub(super) fn place(target: &Target) -> &str {
    let group = &target.aggregation_identifier;
    if group.is_empty() { &target.id } else { group }
}

pub(super) fn is_neighbour(one: &Target, other: &Target) -> bool {
    one.platform_type == other.platform_type && place(one) == place(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company(well: usize, ill: &[&str], gone: &[&str]) -> Company {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Company { well, ill: ids(ill), gone: ids(gone) }
    }

    #[test]
    fn what_the_suite_holds_down_counts_as_well_for_the_others() {
        // Of five, "a" is gone and replaced, "b" and "c" are paused.
        let company = company(3, &["b", "c"], &["a"]);
        assert_eq!(company.well_but_for_victims("a"), 5);
        assert_eq!(company.well_but_for_victims("b"), 4, "itself it does not excuse");
    }

    #[test]
    fn what_came_instead_of_the_dead_counts_for_one_of_them() {
        // Of three, "a" and "b" died and one came back: that is for "a".
        let one_came = company(2, &[], &["a", "b"]);
        assert_eq!((one_came.well_but_for_victims("a"), one_came.well_but_for_victims("b")), (3, 2));
        let none_came = company(1, &[], &["a", "b"]);
        assert_eq!((none_came.well_but_for_victims("a"), none_came.well_but_for_victims("b")), (2, 1));
    }
}
