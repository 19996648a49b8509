//! Sequential ids that are reserved in blocks, so that handing one out never waits for the disk.

use crate::task::lock;
use std::sync::Mutex;

/// Ids reserved at a time.
const BLOCK: u32 = 4096;
/// The next block is reserved when this many are left, long before the last one is used.
const LOW: u32 = BLOCK / 2;

pub(super) struct Ids(Mutex<State>);

struct State {
    next: u32,
    /// The first id that is not reserved.
    reserved: u32,
}

impl Ids {
    /// Ids from `next` on, and what to store first: the first id that another start may use.
    pub(super) fn from(next: u32) -> (Self, u32) {
        let reserved = next.saturating_add(BLOCK);
        (Self(Mutex::new(State { next, reserved })), reserved)
    }

    /// The next id, and what to store where the reserve runs low.
    pub(super) fn next(&self) -> (u32, Option<u32>) {
        let mut state = lock(&self.0);
        let id = state.next;
        state.next = id.saturating_add(1);
        let low = state.reserved.saturating_sub(state.next) < LOW;
        if low {
            state.reserved = state.reserved.saturating_add(BLOCK);
        }
        (id, low.then_some(state.reserved))
    }

    /// The first id that was not handed out.
    pub(super) fn unused(&self) -> u32 {
        lock(&self.0).next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_handed_out_that_is_not_reserved_before() {
        let (ids, mut stored) = Ids::from(1);
        for expected in 1..=3 * BLOCK {
            let (id, reserve) = ids.next();
            assert_eq!(id, expected);
            assert!(id < stored, "{id} is beyond what is stored, {stored}");
            stored = reserve.unwrap_or(stored);
        }
        assert_eq!(ids.unused(), 3 * BLOCK + 1);
    }
}
