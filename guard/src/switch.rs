//! When which fault ends: min(deadline, lease). Pure: the caller brings the time.

use std::{collections::BTreeMap, time::Duration};

use crate::{Undo, message::Why};

/// Every fault that was armed and not disarmed.
#[derive(Debug, Default)]
pub struct Switch {
    lease: Duration,
    faults: BTreeMap<String, Fault>,
}

#[derive(Debug)]
struct Fault {
    undos: Vec<Undo>,
    deadline: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    /// Being put back; `again`: and once more afterwards, for something may have been injected meanwhile.
    Ending {
        again: Option<Why>,
    },
    Ended,
}

/// A fault that is to be put back now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The action's.
    pub id: String,
    /// What ends it.
    pub why: Why,
    /// How.
    pub undos: Vec<Undo>,
}

impl Switch {
    /// Holds undos; those of a known id are replaced, and its deadline stays where none is given. True: the
    /// fault may be injected.
    pub fn arm(&mut self, id: String, undos: Vec<Undo>, deadline: Option<Duration>) -> bool {
        let fault = self.faults.entry(id).or_insert(Fault {
            undos: Vec::new(),
            deadline: Duration::ZERO,
            state: State::Armed,
        });
        fault.undos = undos;
        fault.deadline = deadline.unwrap_or(fault.deadline);
        fault.state == State::Armed
    }

    /// Sets the exact end.
    pub fn deadline(&mut self, id: &str, at: Duration) {
        if let Some(fault) = self.faults.get_mut(id) {
            fault.deadline = at;
        }
    }

    /// The lease was renewed. It never gets shorter.
    pub fn lease(&mut self, until: Duration) {
        self.lease = self.lease.max(until);
    }

    /// Forgets a fault.
    pub fn disarm(&mut self, id: &str) {
        self.faults.remove(id);
    }

    /// When the next fault ends. `None`: none is in force.
    pub fn next_end(&self) -> Option<Duration> {
        let armed = self.faults.values().filter(|fault| fault.state == State::Armed);
        armed.map(|fault| fault.deadline.min(self.lease)).min()
    }

    /// What is over by now, each once.
    pub fn due(&mut self, now: Duration) -> Vec<Due> {
        let lease = self.lease;
        let over = self
            .faults
            .iter_mut()
            .filter(|(_, fault)| fault.state == State::Armed && fault.deadline.min(lease) <= now);
        over.map(|(id, fault)| {
            fault.end(id, if fault.deadline <= lease { Why::Deadline } else { Why::Lease })
        })
        .collect()
    }

    /// One that is to be put back now, again if it was before. `None`: it is not known, or is being put back
    /// already (then it comes out of [`Self::ended`] once more).
    pub fn revert(&mut self, id: &str, why: Why) -> Option<Due> {
        let fault = self.faults.get_mut(id)?;
        if let State::Ending { again } = &mut fault.state {
            *again = Some(why);
            return None;
        }
        Some(fault.end(id, why))
    }

    /// Everything that is to be put back now, again if it was before.
    pub fn revert_all(&mut self, why: Why) -> Vec<Due> {
        let ids: Vec<_> = self.faults.keys().cloned().collect();
        ids.iter().filter_map(|id| self.revert(id, why)).collect()
    }

    /// One was put back. `Some`: once more.
    pub fn ended(&mut self, id: &str) -> Option<Due> {
        let fault = self.faults.get_mut(id)?;
        let State::Ending { again } = fault.state else { return None };
        fault.state = State::Ended;
        again.map(|why| fault.end(id, why))
    }
}

impl Fault {
    fn end(&mut self, id: &str, why: Why) -> Due {
        self.state = State::Ending { again: None };
        Due { id: id.to_owned(), why, undos: self.undos.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn armed(deadline: u64, lease: u64) -> Switch {
        let mut switch = Switch::default();
        switch.lease(at(lease));
        assert!(switch.arm("a".to_owned(), Vec::new(), Some(at(deadline))));
        switch
    }

    fn whys(due: &[Due]) -> Vec<Why> {
        due.iter().map(|due| due.why).collect()
    }

    #[test]
    fn a_fault_ends_at_its_deadline_or_with_the_lease_whichever_is_first_and_once() {
        let mut switch = armed(10, 20);
        assert_eq!(switch.next_end(), Some(at(10)));
        assert_eq!(whys(&switch.due(at(9))), []);
        assert_eq!(whys(&switch.due(at(10))), [Why::Deadline]);
        assert_eq!(whys(&switch.due(at(30))), []);
        assert_eq!(whys(&armed(30, 20).due(at(20))), [Why::Lease]);
    }

    #[test]
    fn a_lease_never_gets_shorter_and_a_deadline_can_be_moved_both_ways() {
        let mut switch = armed(50, 20);
        switch.lease(at(10));
        assert_eq!(switch.next_end(), Some(at(20)));
        switch.lease(at(100));
        switch.deadline("a", at(40));
        assert_eq!(switch.next_end(), Some(at(40)));
        switch.deadline("a", at(60));
        assert_eq!(switch.next_end(), Some(at(60)));
    }

    #[test]
    fn without_a_lease_a_fault_is_over_at_once() {
        assert_eq!(whys(&armed(10, 0).due(at(1))), [Why::Lease]);
    }

    #[test]
    fn what_has_ended_can_not_be_armed_again() {
        let mut switch = armed(10, 20);
        switch.due(at(10));
        assert!(!switch.arm("a".to_owned(), Vec::new(), None));
        switch.ended("a");
        assert!(!switch.arm("a".to_owned(), Vec::new(), None));
        switch.disarm("a");
        assert!(switch.arm("a".to_owned(), Vec::new(), Some(at(30))));
    }

    #[test]
    fn an_order_to_revert_while_it_is_being_put_back_puts_it_back_once_more() {
        let mut switch = armed(10, 20);
        switch.due(at(10));
        assert_eq!(switch.revert("a", Why::Ordered), None);
        assert_eq!(switch.ended("a").map(|due| due.why), Some(Why::Ordered));
        assert_eq!(switch.ended("a"), None);
        assert_eq!(switch.revert("a", Why::AgentGone).map(|due| due.why), Some(Why::AgentGone));
    }

    proptest! {
        #[test]
        fn nothing_ends_early_and_nothing_outlives_its_deadline_or_the_lease(
            deadlines in prop::collection::vec(1u64..100, 1..20), lease in 1u64..100, step in 1u64..10,
        ) {
            let mut switch = Switch::default();
            switch.lease(at(lease));
            for (number, deadline) in deadlines.iter().enumerate() {
                switch.arm(number.to_string(), Vec::new(), Some(at(*deadline)));
            }
            let mut ended = 0;
            for now in (0..=110).step_by(usize::try_from(step)?) {
                for due in switch.due(at(now)) {
                    let end = deadlines[due.id.parse::<usize>()?].min(lease);
                    prop_assert!(end <= now && now < end + step);
                    ended += 1;
                }
            }
            prop_assert_eq!(ended, deadlines.len());
        }
    }
}
