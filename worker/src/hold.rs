//! How long a fault goes on: its own deadline, the worker's lease, and whoever stops it, each read anew at
//! every step by whatever carries the fault out.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use chaos_kitty::{lease::boot_time, v1::end_reason::Name as EndReason};
use tokio::sync::Notify;

use crate::hooks;

/// Longest sleep between two looks at the clock: CLOCK_BOOTTIME runs on through a suspend, timers do not.
const STEP: Duration = Duration::from_millis(50);

/// When everything that this worker holds ends at the latest, in nanoseconds of CLOCK_BOOTTIME.
#[derive(Debug, Default)]
pub(crate) struct LeaseCell(AtomicU64);

impl LeaseCell {
    /// Takes over what the lease says now.
    pub(crate) fn set(&self, until: Duration) {
        let until = if hooks::without("worker-lease") { Duration::MAX } else { until };
        self.0.store(nanos(until), SeqCst);
    }
}

/// The end of one fault. Shared by the thread that holds it and everything that it holds up.
#[derive(Debug)]
pub(crate) struct Hold {
    lease: Arc<LeaseCell>,
    deadline: AtomicU64,
    /// An [`EndReason`]; 0 while nobody has stopped it.
    stopped: AtomicI32,
    acknowledged: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
    notify: Notify,
}

impl Hold {
    /// A fault that is yet to be injected, within `patience` from now.
    pub(crate) fn new(lease: Arc<LeaseCell>, patience: Duration) -> Self {
        Self {
            lease,
            deadline: AtomicU64::new(nanos(boot_time().saturating_add(patience))),
            stopped: AtomicI32::new(0),
            acknowledged: AtomicBool::new(false),
            lock: Mutex::new(()),
            changed: Condvar::new(),
            notify: Notify::new(),
        }
    }

    /// The fault is in force from now on, for this long at the most.
    pub(crate) fn begin(&self, duration: Duration) {
        self.deadline.store(nanos(boot_time().saturating_add(duration)), SeqCst);
        self.wake();
    }

    /// Ends it; the first reason stands.
    pub(crate) fn stop(&self, reason: EndReason) {
        let _ = self.stopped.compare_exchange(0, reason as i32, SeqCst, SeqCst);
        self.wake();
    }

    /// The server has taken in that the order was accepted.
    pub(crate) fn acknowledge(&self) {
        self.acknowledged.store(true, SeqCst);
        self.wake();
    }

    /// Why it is over. `None`: it goes on.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        let now = nanos(boot_time());
        match EndReason::try_from(self.stopped.load(SeqCst)) {
            Ok(EndReason::Unspecified) | Err(_) => {}
            Ok(reason) => return Some(reason),
        }
        if now >= self.deadline.load(SeqCst) {
            return Some(EndReason::Deadline);
        }
        (now >= self.lease.0.load(SeqCst)).then_some(EndReason::Lease)
    }

    /// From now to its end, lease permitting.
    pub(crate) fn remaining(&self) -> Duration {
        let end = self.deadline.load(SeqCst).min(self.lease.0.load(SeqCst));
        Duration::from_nanos(end.saturating_sub(nanos(boot_time())))
    }

    /// Blocks this thread until it is over.
    pub(crate) fn wait(&self) -> EndReason {
        loop {
            if let Some(reason) = self.ended() {
                return reason;
            }
            self.park(STEP, || false);
        }
    }

    /// Blocks this thread for this long, or until it is over.
    pub(crate) fn wait_for(&self, time: Duration) {
        let until = boot_time().saturating_add(time);
        while self.ended().is_none() {
            let left = until.saturating_sub(boot_time());
            if left.is_zero() {
                return;
            }
            self.park(left, || false);
        }
    }

    /// Blocks this thread until the server has the acceptance, for at most this long.
    pub(crate) fn wait_acknowledged(&self, patience: Duration) {
        let until = boot_time().saturating_add(patience);
        while !self.acknowledged.load(SeqCst) && self.ended().is_none() {
            let left = until.saturating_sub(boot_time());
            if left.is_zero() {
                return;
            }
            self.park(left, || self.acknowledged.load(SeqCst));
        }
    }

    /// As [`Self::wait_for`], without a thread. Needs a runtime with timers.
    pub(crate) async fn pass(&self, time: Duration) {
        let until = boot_time().saturating_add(time);
        loop {
            let woken = self.notify.notified();
            let left = until.saturating_sub(boot_time()).min(self.remaining());
            if left.is_zero() || self.ended().is_some() {
                return;
            }
            let _ = tokio::time::timeout(left.min(STEP), woken).await;
        }
    }

    fn park(&self, most: Duration, done: impl Fn() -> bool) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended().is_none() && !done() {
            let time = most.min(STEP).min(self.remaining());
            drop(self.changed.wait_timeout(guard, time));
        }
    }

    fn wake(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        self.notify.notify_waiters();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn leased(length: Duration) -> Arc<LeaseCell> {
        let cell = LeaseCell::default();
        cell.set(boot_time() + length);
        Arc::new(cell)
    }

    #[test]
    fn it_ends_at_its_deadline_and_not_before() {
        let hold = Hold::new(leased(LONG), LONG);
        let started = boot_time();
        hold.begin(Duration::from_millis(80));
        assert_eq!(hold.wait(), EndReason::Deadline);
        assert!(boot_time() - started >= Duration::from_millis(80));
    }

    #[test]
    fn it_ends_with_the_lease_though_nobody_says_so() {
        let hold = Hold::new(leased(Duration::from_millis(80)), LONG);
        assert_eq!(hold.wait(), EndReason::Lease);
    }

    #[test]
    fn a_lease_renewed_in_time_carries_it_on_to_its_deadline() {
        let cell = leased(Duration::from_millis(60));
        let hold = Hold::new(cell.clone(), Duration::from_millis(150));
        cell.set(boot_time() + LONG);
        assert_eq!(hold.wait(), EndReason::Deadline);
    }

    #[test]
    fn the_first_to_stop_it_is_the_reason() {
        let hold = Arc::new(Hold::new(leased(LONG), LONG));
        let waiter = std::thread::spawn({
            let hold = hold.clone();
            move || hold.wait()
        });
        hold.stop(EndReason::Stopped);
        hold.stop(EndReason::Halted);
        assert_eq!(waiter.join().ok(), Some(EndReason::Stopped));
    }

    #[test]
    fn a_duration_beyond_all_time_is_held_as_long_as_the_lease() {
        let hold = Hold::new(leased(Duration::from_millis(30)), LONG);
        hold.begin(Duration::MAX);
        assert_eq!(hold.wait(), EndReason::Lease);
    }

    #[tokio::test]
    async fn a_pass_ends_when_the_fault_is_stopped() {
        let hold = Arc::new(Hold::new(leased(LONG), LONG));
        let passing = tokio::spawn({
            let hold = hold.clone();
            async move { hold.pass(LONG).await }
        });
        hold.stop(EndReason::Stopped);
        assert!(tokio::time::timeout(Duration::from_secs(20), passing).await.is_ok());
    }
}
