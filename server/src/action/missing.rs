//! Programs that scripts needed on targets and that were not there: whoever chooses at random need not try again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard},
};

use crate::task::lock;
use chaos_kitty::v1::{ActionStatus, Target, action_result::Kind};

/// Targets remembered at the most; then all are forgotten, and found out anew.
const TARGETS: usize = 10_000;
/// Programs remembered of a target at the most, and the longest name, in bytes.
const PROGRAMS: (usize, usize) = (32, 64);

/// See the module. By target, in the incarnation in which it was seen.
#[derive(Debug, Default)]
pub(super) struct Missing(Mutex<HashMap<String, (String, BTreeSet<String>)>>);

impl Missing {
    /// Takes in what became of an action.
    pub(super) fn learn(&self, status: &ActionStatus) {
        let Some(Kind::Script(figures)) = status.result.as_ref().and_then(|result| result.kind.as_ref())
        else {
            return;
        };
        if figures.missing.is_empty() {
            return;
        }
        let mut known = self.lock();
        if known.len() >= TARGETS && !known.contains_key(&status.target_id) {
            known.clear();
        }
        let (incarnation, programs) = known.entry(status.target_id.clone()).or_default();
        if *incarnation != status.incarnation {
            status.incarnation.clone_into(incarnation);
            programs.clear();
        }
        let (most, longest) = PROGRAMS;
        for program in figures.missing.iter().filter(|program| program.len() <= longest) {
            if programs.len() < most {
                programs.insert(program.clone());
            }
        }
    }

    /// What is known to be missing on a target, in order.
    pub(super) fn on(&self, target: &Target) -> Vec<String> {
        let known = self.lock();
        let here = known.get(&target.id).filter(|(incarnation, _)| *incarnation == target.incarnation);
        here.map(|(_, programs)| programs.iter().cloned().collect()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, BTreeSet<String>)>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{ActionResult, ScriptResult};

    use super::*;

    fn refused(target: &str, incarnation: &str, missing: &[&str]) -> ActionStatus {
        let missing = missing.iter().map(|program| (*program).to_owned()).collect();
        let result =
            ActionResult { kind: Some(Kind::Script(ScriptResult { missing, ..Default::default() })) };
        ActionStatus {
            target_id: target.to_owned(),
            incarnation: incarnation.to_owned(),
            result: Some(result),
            ..Default::default()
        }
    }

    fn target(id: &str, incarnation: &str) -> Target {
        Target { id: id.to_owned(), incarnation: incarnation.to_owned(), ..Default::default() }
    }

    #[test]
    fn what_was_missing_is_known_for_as_long_as_the_target_lives() {
        let missing = Missing::default();
        missing.learn(&refused("a", "1", &["nproc", "ip"]));
        missing.learn(&refused("a", "1", &["dd"]));
        missing.learn(&refused("a", "1", &[]));
        assert_eq!(missing.on(&target("a", "1")), ["dd", "ip", "nproc"]);
        assert!(missing.on(&target("a", "2")).is_empty() && missing.on(&target("b", "1")).is_empty());
        missing.learn(&refused("a", "2", &["tr"]));
        assert_eq!(missing.on(&target("a", "2")), ["tr"]);
    }

    #[test]
    fn memory_is_bounded() {
        let missing = Missing::default();
        (0..=TARGETS).for_each(|number| missing.learn(&refused(&number.to_string(), "1", &["ip"])));
        assert!(missing.lock().len() <= TARGETS);
        assert_eq!(missing.on(&target(&TARGETS.to_string(), "1")), ["ip"]);
    }
}
