//! When which fault ends: min(deadline, lease). Pure: the caller brings the time.

use std::{collections::BTreeMap, time::Duration};

use crate::{Undo, hooks, message::Why};

/// What has ended is put back again this often, for as long as the agent may still be injecting it.
pub const AGAIN: Duration = Duration::from_secs(1);

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
    /// The agent has said that nothing more of it will be injected.
    settled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Armed,
    /// Being put back. `settled`: for good, it was settled when that began; else `again`: once more afterwards, for
    /// something may have been injected meanwhile.
    Ending {
        why: Why,
        settled: bool,
        again: Option<Why>,
    },
    /// `again_at`: for something may have been injected since; `None`: for good.
    Ended {
        why: Why,
        again_at: Option<Duration>,
    },
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
    /// Nothing of it is being injected any more.
    pub settled: bool,
    /// It was put back before, and only might be in force again: nobody needs to hear of it.
    pub silent: bool,
}

impl Switch {
    /// Holds undos; those of a known id are replaced, and its deadline stays where none is given. True: the
    /// fault may be injected.
    pub fn arm(&mut self, id: String, undos: Vec<Undo>, deadline: Option<Duration>) -> bool {
        let fault = self.faults.entry(id).or_insert(Fault {
            undos: Vec::new(),
            deadline: Duration::ZERO,
            state: State::Armed,
            settled: false,
        });
        fault.undos = undos;
        fault.deadline = deadline.unwrap_or(fault.deadline);
        fault.state == State::Armed
    }

    /// It is in force, and this is its exact end. `Some`: it had ended before that, so once more.
    pub fn deadline(&mut self, id: &str, at: Duration) -> Option<Due> {
        let fault = self.faults.get_mut(id)?;
        fault.deadline = at;
        fault.settled = true;
        match &mut fault.state {
            State::Armed | State::Ending { settled: true, .. } | State::Ended { again_at: None, .. } => None,
            State::Ending { why, again, .. } => {
                again.get_or_insert(*why);
                None
            }
            State::Ended { .. } => fault.repeat(id),
        }
    }

    /// The lease was renewed. It never gets shorter.
    pub fn lease(&mut self, until: Duration) {
        let until = if hooks::without("lease") { Duration::MAX } else { until };
        self.lease = self.lease.max(until);
    }

    /// Forgets a fault.
    pub fn disarm(&mut self, id: &str) {
        self.faults.remove(id);
    }

    /// When something is due next. `None`: nothing is in force.
    pub fn next_end(&self) -> Option<Duration> {
        self.faults.values().filter_map(|fault| fault.due_at(self.lease)).min()
    }

    /// What is over by now: each once, or every [`AGAIN`] while the agent may still be injecting it.
    pub fn due(&mut self, now: Duration) -> Vec<Due> {
        let lease = self.lease;
        let over =
            self.faults.iter_mut().filter(|(_, fault)| fault.due_at(lease).is_some_and(|at| at <= now));
        over.filter_map(|(id, fault)| match fault.state {
            State::Armed if fault.deadline <= lease => Some(fault.end(id, Why::Deadline)),
            State::Armed => Some(fault.end(id, Why::Lease)),
            _ => fault.repeat(id),
        })
        .collect()
    }

    /// One that is to be put back now: nothing more of it is injected. `None`: it is not known, was put back for good,
    /// or is being put back already (then it comes out of [`Self::ended`] once more, if that is needed).
    pub fn revert(&mut self, id: &str, why: Why) -> Option<Due> {
        let fault = self.faults.get_mut(id)?;
        fault.settled = true;
        match fault.state {
            State::Ended { again_at: None, .. } => None,
            _ => fault.put_back(id, why),
        }
    }

    /// Everything that is to be put back now, again if it was before.
    pub fn revert_all(&mut self, why: Why) -> Vec<Due> {
        self.faults.iter_mut().filter_map(|(id, fault)| fault.put_back(id, why)).collect()
    }

    /// One was put back by now. `Some`: once more.
    pub fn ended(&mut self, id: &str, now: Duration) -> Option<Due> {
        let fault = self.faults.get_mut(id)?;
        let State::Ending { why, again, .. } = fault.state else { return None };
        fault.state = State::Ended { why, again_at: (!fault.settled).then(|| now + AGAIN) };
        again.map(|why| fault.end(id, why))
    }
}

impl Fault {
    fn due_at(&self, lease: Duration) -> Option<Duration> {
        match self.state {
            State::Armed => Some(self.deadline.min(lease)),
            State::Ending { .. } => None,
            State::Ended { again_at, .. } => again_at,
        }
    }

    fn put_back(&mut self, id: &str, why: Why) -> Option<Due> {
        match &mut self.state {
            State::Ending { settled: true, .. } => None,
            State::Ending { again, .. } => {
                *again = Some(why);
                None
            }
            _ => Some(self.end(id, why)),
        }
    }

    fn end(&mut self, id: &str, why: Why) -> Due {
        let settled = self.settled;
        self.state = State::Ending { why, settled, again: None };
        Due { id: id.to_owned(), why, undos: self.undos.clone(), settled, silent: false }
    }

    fn repeat(&mut self, id: &str) -> Option<Due> {
        let State::Ended { why, .. } = self.state else { return None };
        Some(Due { silent: !self.settled, ..self.end(id, why) })
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
        assert_eq!(switch.deadline("a", at(40)), None);
        assert_eq!(switch.next_end(), Some(at(40)));
        assert_eq!(switch.deadline("a", at(60)), None);
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
        switch.ended("a", at(10));
        assert!(!switch.arm("a".to_owned(), Vec::new(), None));
        switch.disarm("a");
        assert!(switch.arm("a".to_owned(), Vec::new(), Some(at(30))));
    }

    #[test]
    fn an_order_to_revert_while_it_is_being_put_back_puts_it_back_once_more() {
        let mut switch = armed(10, 20);
        switch.due(at(10));
        assert_eq!(switch.revert("a", Why::Ordered), None);
        let again = switch.ended("a", at(10)).unwrap();
        assert_eq!((again.why, again.settled, again.silent), (Why::Ordered, true, false));
        assert_eq!(switch.ended("a", at(10)), None);
    }

    #[test]
    fn what_is_put_back_for_good_is_not_put_back_again_by_an_order_to_revert_it() {
        let mut switch = armed(10, 20);
        assert_eq!(switch.deadline("a", at(10)), None);
        assert!(switch.due(at(10))[0].settled);
        assert_eq!(switch.revert("a", Why::Ordered), None, "it is under way");
        assert_eq!(switch.revert_all(Why::AgentGone), []);
        assert_eq!(switch.ended("a", at(10)), None);
        assert_eq!(switch.revert("a", Why::Ordered), None, "it is done");
        assert_eq!(whys(&switch.revert_all(Why::AgentGone)), [Why::AgentGone], "with nobody to look at it");
    }

    #[test]
    fn what_may_still_be_injected_is_put_back_every_second_and_what_is_settled_is_not() {
        let mut switch = armed(10, 20);
        switch.due(at(10));
        switch.ended("a", at(10));
        for second in 11..15 {
            assert_eq!(switch.next_end(), Some(at(second)));
            let due = switch.due(at(second));
            assert_eq!((whys(&due), due[0].silent), (vec![Why::Deadline], true));
            assert_eq!(switch.ended("a", at(second)), None);
        }
        assert!(
            switch.deadline("a", at(60)).is_some_and(|due| due.settled && !due.silent),
            "it came into force after its end"
        );
        assert_eq!(switch.revert("a", Why::Ordered), None, "and what is under way is for good");
        switch.ended("a", at(15));
        assert_eq!(switch.next_end(), None);

        let mut switch = armed(10, 20);
        assert_eq!(switch.deadline("a", at(12)), None);
        switch.due(at(12));
        switch.ended("a", at(12));
        assert_eq!(switch.next_end(), None, "it was in force before it ended");
    }

    #[test]
    fn an_order_to_revert_everything_says_nothing_of_what_is_still_being_injected() {
        let mut switch = armed(10, 20);
        assert_eq!(whys(&switch.revert_all(Why::Ordered)), [Why::Ordered]);
        switch.ended("a", at(1));
        assert_eq!(switch.next_end(), Some(at(2)));
        assert_eq!(switch.revert("a", Why::Ordered).map(|due| due.settled), Some(true));
        switch.ended("a", at(2));
        assert_eq!(switch.next_end(), None);
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
