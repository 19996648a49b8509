//! Anonymous memory, made resident piece by piece. The agent's own unsafe code is here.
#![expect(unsafe_code, reason = "mapping memory is unsafe by nature; here it is owned and never shared")]

use std::{ffi::c_void, io, ptr};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap},
};

/// A private anonymous mapping. Dropping it gives it back to the operating system.
#[derive(Debug)]
pub(super) struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Reserves addresses; nothing is resident yet. `length` is rounded up to whole pages by the kernel.
    ///
    /// # Errors
    /// Out of address space.
    pub(super) fn reserve(length: usize) -> io::Result<Self> {
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: the kernel chooses the addresses, so no mapping of anybody's is replaced.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, protection, flags)? };
        let mapping = Self { start, length };
        // Small pages: what is resident is exact, and the time for a gibibyte is even. A kernel without huge
        // pages refuses the advice and does not need it.
        // SAFETY: the range is ours, and the advice changes no contents.
        let _ = unsafe { madvise(start, length, Advice::LinuxNoHugepage) };
        Ok(mapping)
    }

    /// Where it is, as `/proc/PID/smaps` shows it.
    pub(super) fn address(&self) -> usize {
        self.start.addr()
    }

    /// Makes the bytes from `from` to `to` resident. Both are multiples of the page size or the end.
    ///
    /// # Errors
    /// Out of memory.
    pub(super) fn populate(&mut self, from: usize, to: usize) -> io::Result<()> {
        let (from, to) = (from.min(self.length), to.min(self.length));
        // SAFETY: `from` is within the mapping.
        let start = unsafe { self.start.byte_add(from) };
        // SAFETY: the range is ours and private; populating changes no contents.
        match unsafe { madvise(start, to - from, Advice::LinuxPopulateWrite) } {
            // Before Linux 5.14.
            Err(Errno::INVAL) => self.touch(from, to),
            other => return Ok(other?),
        }
        Ok(())
    }

    fn touch(&mut self, from: usize, to: usize) {
        for offset in (from..to).step_by(rustix::param::page_size()) {
            // SAFETY: `offset` is within the mapping, which is writable, and nobody else has a pointer to it.
            unsafe { self.start.byte_add(offset).cast::<u8>().write_volatile(1) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and no pointer to it leaves this type.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::memory::resident;

    #[test]
    fn what_is_populated_is_resident_and_nothing_else() {
        let page = rustix::param::page_size();
        let mut mapping = Mapping::reserve(100 * page).unwrap();
        let address = mapping.address();
        let rss = || resident(std::process::id(), address).unwrap();
        assert_eq!(rss(), 0);
        mapping.populate(0, 40 * page).unwrap();
        assert_eq!(rss(), 40 * page as u64);
        mapping.touch(40 * page, 50 * page);
        assert_eq!(rss(), 50 * page as u64);
    }
}
