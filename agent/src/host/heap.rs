//! The agent's own memory. What thousands of targets need for a moment, when all are looked at and told, would else
//! stay with it. Other C libraries than GNU's keep less, and are left as they are.
#![expect(unsafe_code, reason = "the allocator is set by calls to C; they take numbers only")]

/// One heap for all threads, which are few: with one for each, the gaps of none serve the others. To be called while
/// there is one thread.
pub(crate) fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no memory is passed; a wrong number is refused, and changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Gives what is free back to the operating system, a page at a time.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only what is free, under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0)
    };
}
