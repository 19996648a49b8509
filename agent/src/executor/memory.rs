//! The ids of actions that are over, so that an order that comes twice starts nothing twice. Pure.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

/// How long an id is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Ids remembered at the most; the oldest go first.
const CAPACITY: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Memory {
    order: VecDeque<(Duration, String)>,
    ids: HashSet<String>,
}

impl Memory {
    pub(super) fn remember(&mut self, id: String, now: Duration) {
        self.forget(now);
        if self.ids.insert(id.clone()) {
            self.order.push_back((now, id));
        }
    }

    pub(super) fn knows(&mut self, id: &str, now: Duration) -> bool {
        self.forget(now);
        self.ids.contains(id)
    }

    fn forget(&mut self, now: Duration) {
        while let Some((since, _)) = self.order.front()
            && (now.saturating_sub(*since) > REMEMBERED || self.order.len() >= CAPACITY)
        {
            if let Some((_, id)) = self.order.pop_front() {
                self.ids.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_remembered_for_an_hour() {
        let mut memory = Memory::default();
        let at = Duration::from_secs;
        memory.remember("a".to_owned(), at(100));
        assert!(memory.knows("a", at(3700)) && !memory.knows("b", at(3700)));
        assert!(!memory.knows("a", at(3701)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..=CAPACITY {
            memory.remember(number.to_string(), Duration::ZERO);
        }
        assert_eq!(memory.ids.len(), memory.order.len());
        assert!(memory.order.len() <= CAPACITY);
        assert!(memory.knows(&CAPACITY.to_string(), Duration::ZERO));
    }
}
