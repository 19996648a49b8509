//! Counters that outlive the child that kept them: an anonymous file that child and agent share, so that the
//! figures are there however the child ended.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::{pread, pwrite},
};

const SLOT_BYTES: usize = 16;

/// What one thread has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Processor time that it burnt, in nanoseconds.
    pub cpu_nanos: u64,
    /// Rounds of its loop.
    pub iterations: u64,
}

/// A new board of `slots`, all zero.
///
/// # Errors
/// Out of descriptors or memory.
pub fn create(slots: usize) -> io::Result<OwnedFd> {
    let file = memfd_create(c"kitty-board", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, (slots * SLOT_BYTES) as u64)?;
    Ok(file)
}

/// Writes a slot. Each slot has one writer.
///
/// # Errors
/// It is no board.
pub(super) fn write(board: impl AsFd, index: usize, slot: Slot) -> io::Result<()> {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&slot.cpu_nanos.to_ne_bytes());
    bytes[8..].copy_from_slice(&slot.iterations.to_ne_bytes());
    pwrite(board, &bytes, (index * SLOT_BYTES) as u64)?;
    Ok(())
}

/// All slots.
///
/// # Errors
/// It is no board.
pub fn read(board: impl AsFd, slots: usize) -> io::Result<Vec<Slot>> {
    let mut bytes = vec![0; slots * SLOT_BYTES];
    pread(board, &mut bytes[..], 0)?;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let slots = bytes.chunks_exact(SLOT_BYTES);
    Ok(slots.map(|slot| Slot { cpu_nanos: word(&slot[..8]), iterations: word(&slot[8..]) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_as_they_were_written() {
        let board = create(3).unwrap();
        let slot = Slot { cpu_nanos: 5, iterations: u64::MAX };
        write(&board, 1, slot).unwrap();
        assert_eq!(read(&board, 3).unwrap(), [Slot::default(), slot, Slot::default()]);
    }
}
