//! The few system calls for which rustix has no safe function.
#![expect(unsafe_code, reason = "signalfd and close_range: no safe wrapper in rustix")]

use std::{
    io, mem,
    os::fd::{FromRawFd, OwnedFd},
    ptr,
};

/// The signals that ask the guard to end, as readable bytes of a descriptor. They are blocked for this
/// thread and those that it starts.
pub(crate) fn ending_signals() -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by sigemptyset before it is used, and outlives the calls; signalfd gives a
    // new descriptor that nothing else owns.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGABRT] {
            libc::sigaddset(&mut set, signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// Closes whatever an agent's parent leaked into us. To be called before anything is opened.
pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: nothing above the standard streams was opened by this process yet, so that no owner of a
    // descriptor is betrayed.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
