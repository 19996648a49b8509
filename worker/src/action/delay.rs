//! Blocks the application's executor: a task that does not yield occupies each of its threads.
//!
//! What the application runs outside of the runtime's threads goes on: its own threads, and on a
//! multi-thread runtime the future given to `block_on` (it runs on the thread that called it).

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    v1::{DelayResult, action_result::Kind as Figures, end_reason::Name as EndReason, evidence::Phase},
};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{Application, Outcome, Scene, points};
use crate::hold::Hold;

/// Longest wait for every thread of the executor to come to the task that blocks it.
const STANDSTILL: Duration = Duration::from_secs(3);

/// Without an executor, there must be guarded points to hold up.
pub(crate) fn check(application: &Application) -> Result<(), Problem> {
    if application.executor.is_some() || application.points.guarded() {
        return Ok(());
    }
    Err(Problem::new(
        Code::Unsupported,
        "this worker has neither an executor nor guarded points that could be held up",
    )
    .hint("connect it inside a tokio runtime, or with Builder::executor, or call inject() in its code"))
}

/// Blocks the executor; without one, the guarded points.
pub(crate) fn block(duration: Duration, scene: &Scene<'_>) -> Result<Outcome, Problem> {
    match &scene.application.executor {
        Some(executor) => block_executor(executor, duration, scene),
        None => Ok(points::hold_back(duration, duration, scene)),
    }
}

fn block_executor(executor: &Handle, duration: Duration, scene: &Scene<'_>) -> Result<Outcome, Problem> {
    let threads = match executor.runtime_flavor() {
        RuntimeFlavor::CurrentThread => 1,
        _ => executor.metrics().num_workers(),
    };
    let standstill = Arc::new(Standstill::default());
    for _ in 0..threads {
        let (standstill, hold) = (standstill.clone(), scene.hold.clone());
        executor.spawn(async move { standstill.occupy(&hold) });
    }
    if !standstill.wait_until(STANDSTILL, |counts| counts.arrived == threads) {
        scene.hold.stop(EndReason::Completed);
        return Err(Problem::new(
            Code::NoAnswer,
            format!("the application's executor did not come to a standstill within {STANDSTILL:?}"),
        )
        .hint("something else blocks it, or nobody runs it"));
    }
    let stood = boot_time();
    scene.hold.begin(duration);
    let outcome = |held: Duration| {
        Outcome::of(Figures::Delay(DelayResult {
            held: Some(held.into()),
            processes: 1,
            means: "executor".to_owned(),
            ..Default::default()
        }))
    };
    (scene.started)(outcome(Duration::ZERO).seen(Phase::During, "executor threads blocked", threads));
    scene.hold.wait();
    standstill.wait_until(STANDSTILL, |counts| counts.left == threads);
    let counts = standstill.counts();
    let held = counts.first_left.unwrap_or_else(boot_time).saturating_sub(stood);
    Ok(outcome(held).seen(Phase::After, "executor threads blocked", counts.arrived - counts.left))
}

/// The threads that a delay has brought to a stand.
#[derive(Default)]
struct Standstill {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    arrived: usize,
    left: usize,
    first_left: Option<Duration>,
}

impl Standstill {
    /// Blocks the thread that runs this until the fault is over.
    fn occupy(&self, hold: &Hold) {
        if hold.ended().is_some() {
            return;
        }
        self.count(|counts| counts.arrived += 1);
        hold.wait();
        self.count(|counts| {
            counts.left += 1;
            counts.first_left.get_or_insert_with(boot_time);
        });
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the condition came true within the time.
    fn wait_until(&self, patience: Duration, condition: impl Fn(&Counts) -> bool) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(counts, patience, |counts| !condition(counts));
        condition(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}
