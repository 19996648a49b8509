//! The events that somebody may still have to read: bounded in number and in bytes. Pure.

use std::{collections::VecDeque, sync::Arc};

use chaos_kitty::v1::Event;
use prost::Message;

/// Events that a watcher may be behind.
pub(super) const EVENTS: usize = 4096;
/// Their bytes on the wire.
pub(super) const BYTES: usize = 8 << 20;

/// See the module. An event's position grows by one with each that is kept.
#[derive(Debug, Default)]
pub(super) struct Ring {
    kept: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// Position of the first that is kept.
    first: u64,
}

/// What there is at a position.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Event(Arc<Event>),
    /// Nothing yet.
    Nothing,
    /// So many were dropped from there on.
    Dropped(u64),
}

impl Ring {
    /// Keeps an event; the oldest are dropped where there is no room. The newest is kept whatever its size.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        let size = event.encoded_len();
        self.kept.push_back((event, size));
        self.bytes += size;
        while self.kept.len() > EVENTS || (self.bytes > BYTES && self.kept.len() > 1) {
            let Some((_, size)) = self.kept.pop_front() else { return };
            self.bytes -= size;
            self.first += 1;
        }
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        self.first = self.next();
        (self.kept, self.bytes) = (VecDeque::new(), 0);
    }

    /// Position of the next event.
    pub(super) fn next(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    pub(super) fn at(&self, position: u64) -> Found {
        let Some(index) = position.checked_sub(self.first) else {
            return Found::Dropped(self.first - position);
        };
        let event = usize::try_from(index).ok().and_then(|index| self.kept.get(index));
        event.map_or(Found::Nothing, |(event, _)| Found::Event(event.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, bytes: usize) -> Arc<Event> {
        Arc::new(Event { sequence, message: "x".repeat(bytes), ..Event::default() })
    }

    #[test]
    fn the_oldest_are_dropped_by_number_and_by_bytes() {
        let mut ring = Ring::default();
        for sequence in 0..EVENTS as u64 + 7 {
            ring.push(event(sequence, 0));
        }
        assert_eq!(ring.at(0), Found::Dropped(7));
        assert_eq!(ring.at(7), Found::Event(event(7, 0)));
        assert_eq!(ring.at(ring.next()), Found::Nothing);
        for sequence in 0..10 {
            ring.push(event(sequence, 1 << 20));
        }
        assert_eq!(ring.kept.len(), 7);
        assert!(ring.bytes <= BYTES);
        ring.push(event(99, 2 * BYTES));
        assert_eq!(ring.kept.len(), 1);
        let next = ring.next();
        ring.clear();
        assert_eq!((ring.next(), ring.bytes, ring.at(next - 1)), (next, 0, Found::Dropped(1)));
    }
}
