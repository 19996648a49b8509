//! The guarded points of an application: where an `error` or `delay` fault meets a call.
//!
//! While no fault is in force a point costs one relaxed load of an atomic.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use chaos_kitty::v1::end_reason::Name as EndReason;
use tokio::runtime::Handle;

use crate::{hold::Hold, order::FailureRule};

/// Passes a guarded point of this process: fails or blocks the calling thread while a fault says so.
///
/// # Errors
/// [`Injected`], with the fault's message, while an `error` fault strikes.
#[inline]
pub fn inject(point: &str) -> Result<(), Injected> {
    PROCESS.inject(point)
}

/// As [`inject`] for async code: a delay is awaited and blocks no thread.
///
/// # Errors
/// [`Injected`], with the fault's message, while an `error` fault strikes.
#[inline]
pub async fn inject_async(point: &str) -> Result<(), Injected> {
    if PROCESS.idle() { Ok(()) } else { PROCESS.meet_async(point).await }
}

/// The error of a guarded call that a fault made fail. Displays as the fault's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The fault's message.
    pub message: String,
    /// The point that was passed.
    pub point: String,
    /// The action that did it.
    pub action_id: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Injected {}

/// A set of guarded points. One process has one, which [`inject`] and [`crate::ChaosLayer::new`] use; a
/// process that holds several workers gives each its own ([`crate::Builder::points`]).
#[derive(Clone, Debug, Default)]
pub struct Points(Set);

#[derive(Clone, Debug, Default)]
enum Set {
    #[default]
    Process,
    Own(Arc<Inner>),
}

static PROCESS: Inner = Inner::new();

impl Points {
    /// The process's own.
    pub fn process() -> Self {
        Self::default()
    }

    /// A set apart from the process's.
    pub fn separate() -> Self {
        Self(Set::Own(Arc::new(Inner::new())))
    }

    /// As the function [`inject`], at this set.
    ///
    /// # Errors
    /// [`Injected`], with the fault's message, while an `error` fault strikes.
    #[inline]
    pub fn inject(&self, point: &str) -> Result<(), Injected> {
        self.inner().inject(point)
    }

    /// As the function [`inject_async`], at this set.
    ///
    /// # Errors
    /// [`Injected`], with the fault's message, while an `error` fault strikes.
    pub async fn inject_async(&self, point: &str) -> Result<(), Injected> {
        if self.idle() { Ok(()) } else { self.inner().meet_async(point).await }
    }

    /// Nothing is in force and a call has passed before.
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.inner().idle()
    }

    /// Whether the application guards anything, as far as it has run.
    pub(crate) fn guarded(&self) -> bool {
        self.inner().gate.load(Relaxed) & UNUSED == 0
    }

    /// Says that something is guarded, before the first call.
    pub(crate) fn mark_guarded(&self) {
        self.inner().gate.fetch_and(!UNUSED, Relaxed);
    }

    /// Puts a fault in force, until what is returned is dropped.
    pub(crate) fn enter(&self, fault: Arc<PointFault>) -> InForce {
        let inner = self.inner();
        inner.faults.write().unwrap_or_else(PoisonError::into_inner).push(fault.clone());
        inner.gate.fetch_add(FAULT, Relaxed);
        InForce { points: self.clone(), fault }
    }

    fn leave(&self, fault: &Arc<PointFault>) {
        let inner = self.inner();
        let mut faults = inner.faults.write().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|held| !Arc::ptr_eq(held, fault));
        inner.gate.fetch_sub(FAULT, Relaxed);
    }

    #[inline]
    fn inner(&self) -> &Inner {
        match &self.0 {
            Set::Process => &PROCESS,
            Set::Own(inner) => inner,
        }
    }
}

/// A fault at the points of a set, as long as this lives.
#[derive(Debug)]
pub(crate) struct InForce {
    points: Points,
    fault: Arc<PointFault>,
}

impl Drop for InForce {
    fn drop(&mut self) {
        self.points.leave(&self.fault);
    }
}

/// What meets a call.
#[derive(Debug)]
pub(crate) struct PointFault {
    /// Its end, which every call reads anew.
    pub(crate) hold: Arc<Hold>,
    /// The action that it belongs to.
    pub(crate) action_id: String,
    /// What it does.
    pub(crate) effect: Effect,
    /// Calls that it met.
    pub(crate) calls: AtomicU64,
    /// Calls that it failed.
    pub(crate) failed: AtomicU64,
}

/// What happens to a call.
#[derive(Debug)]
pub(crate) enum Effect {
    /// It waits. The timers of async calls run where `timers` says.
    Delay { each: Duration, timers: Handle },
    /// It fails.
    Fail(FailureRule),
}

impl PointFault {
    pub(crate) fn new(hold: Arc<Hold>, action_id: String, effect: Effect) -> Arc<Self> {
        Arc::new(Self { hold, action_id, effect, calls: AtomicU64::new(0), failed: AtomicU64::new(0) })
    }

    fn concerns(&self, point: &str) -> bool {
        let named = match &self.effect {
            Effect::Fail(rule) => rule.point.is_empty() || rule.point == point,
            Effect::Delay { .. } => true,
        };
        named && self.hold.ended().is_none()
    }

    fn strike(&self, rule: &FailureRule, point: &str) -> Result<(), Injected> {
        self.calls.fetch_add(1, Relaxed);
        if !rand::random_bool(rule.probability) {
            return Ok(());
        }
        let room = |failed| (rule.count == 0 || failed < rule.count).then_some(failed + 1);
        let Ok(before) = self.failed.fetch_update(Relaxed, Relaxed, room) else { return Ok(()) };
        if before + 1 == rule.count {
            self.hold.stop(EndReason::Completed);
        }
        let (message, action_id) = (rule.message.clone(), self.action_id.clone());
        Err(Injected { message, point: point.to_owned(), action_id })
    }
}

/// No call has passed yet: the first one takes the long way and clears this.
const UNUSED: usize = 1;
/// One fault in force.
const FAULT: usize = 2;

#[derive(Debug)]
struct Inner {
    /// [`UNUSED`], plus [`FAULT`] for each fault in force. 0: nothing to do.
    gate: AtomicUsize,
    faults: RwLock<Vec<Arc<PointFault>>>,
}

impl Inner {
    const fn new() -> Self {
        Self { gate: AtomicUsize::new(UNUSED), faults: RwLock::new(Vec::new()) }
    }

    #[inline]
    fn idle(&self) -> bool {
        self.gate.load(Relaxed) == 0
    }

    #[inline]
    fn inject(&self, point: &str) -> Result<(), Injected> {
        if self.idle() { Ok(()) } else { self.meet(point) }
    }

    #[cold]
    fn meet(&self, point: &str) -> Result<(), Injected> {
        for fault in self.met(point) {
            match &fault.effect {
                Effect::Fail(rule) => fault.strike(rule, point)?,
                Effect::Delay { each, .. } => {
                    fault.calls.fetch_add(1, Relaxed);
                    fault.hold.wait_for(*each);
                }
            }
        }
        Ok(())
    }

    #[cold]
    async fn meet_async(&self, point: &str) -> Result<(), Injected> {
        for fault in self.met(point) {
            match &fault.effect {
                Effect::Fail(rule) => fault.strike(rule, point)?,
                Effect::Delay { each, timers } => {
                    fault.calls.fetch_add(1, Relaxed);
                    let (hold, each) = (fault.hold.clone(), *each);
                    // The application's own runtime may have no timers. An error means that the worker
                    // is gone, and its faults with it.
                    let _ = timers.spawn(async move { hold.pass(each).await }).await;
                }
            }
        }
        Ok(())
    }

    /// The faults that meet a call, delays first.
    fn met(&self, point: &str) -> Vec<Arc<PointFault>> {
        self.gate.fetch_and(!UNUSED, Relaxed);
        let faults = self.faults.read().unwrap_or_else(PoisonError::into_inner);
        let mut met: Vec<_> = faults.iter().filter(|fault| fault.concerns(point)).cloned().collect();
        met.sort_by_key(|fault| matches!(fault.effect, Effect::Fail(_)));
        met
    }
}
