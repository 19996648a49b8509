//! The clock of deadlines and leases.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspended time included (CLOCK_BOOTTIME).
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}
