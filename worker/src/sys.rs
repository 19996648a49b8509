//! The only unsafe code of the SDK: a mapping of its own, the allocator's trim, an exit without goodbye.

#![expect(unsafe_code, reason = "mmap, mincore, malloc_trim and _exit have no safe interface")]

use std::{ffi::c_void, io, ptr};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Anonymous private memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: the mapping is owned by this value alone; no part of it is thread-local.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Reserves address space; nothing of it is resident yet.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        Ok(Self { start, bytes })
    }

    /// Makes a range resident by writing to each of its pages. What is beyond the end is left out.
    pub(crate) fn touch(&mut self, from: usize, bytes: usize) {
        let end = from.saturating_add(bytes).min(self.bytes);
        for offset in (from..end).step_by(rustix::param::page_size()) {
            // SAFETY: offset is below self.bytes, inside a mapping that this value owns and may write to.
            unsafe { self.start.cast::<u8>().add(offset).write_volatile(0xca) };
        }
    }

    /// Bytes of it that are resident, by mincore(2).
    pub(crate) fn resident(&self) -> io::Result<u64> {
        mincore(self.start, self.bytes)
    }

    /// Gives it back, and answers how much of it is no longer mapped.
    pub(crate) fn give_back(self) -> io::Result<u64> {
        let (start, bytes) = (self.start, self.bytes);
        // SAFETY: the mapping is this value's own, and `forget` keeps drop from unmapping it again.
        unsafe { munmap(start, bytes)? };
        std::mem::forget(self);
        match mincore(start, bytes) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(bytes as u64),
            Ok(resident) => Ok((bytes as u64).saturating_sub(resident)),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: as in `give_back`, which forgets the value.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

fn mincore(start: *mut c_void, bytes: usize) -> io::Result<u64> {
    let page = rustix::param::page_size();
    let mut pages = vec![0u8; bytes.div_ceil(page)];
    // SAFETY: mincore reads no memory at `start`, it fails for what is not mapped; `pages` has a byte for
    // each page of the range.
    if unsafe { libc::mincore(start, bytes, pages.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pages.iter().filter(|state| **state & 1 == 1).count() as u64 * page as u64)
}

/// Lets glibc's allocator give unused memory back. Other C libraries have nothing of the kind.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Ends the process at once, running no destructors and no exit handlers.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_resident_to_the_page_and_is_given_back() {
        let page = rustix::param::page_size();
        let mut mapping = Mapping::new(64 * page).unwrap();
        assert_eq!(mapping.resident().unwrap(), 0);
        mapping.touch(0, usize::MAX);
        assert_eq!(mapping.resident().unwrap(), 64 * page as u64);
        assert_eq!(mapping.give_back().unwrap(), 64 * page as u64);
    }
}
