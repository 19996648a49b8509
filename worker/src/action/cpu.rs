//! Processor time is burnt, by as many threads as asked for. Each compares what it has burnt, by the
//! kernel's own count, with what it should have, so that its load holds whatever else runs.

use std::{hint::black_box, sync::Arc, thread, time::Duration};

use chaos_kitty::{
    Code, Problem,
    lease::boot_time,
    v1::{CpuResult, action_result::Kind as Figures, end_reason::Name as EndReason, evidence::Phase},
};
use rustix::time::{ClockId, clock_gettime};

use super::{Outcome, Scene};
use crate::hold::Hold;

/// Burning and resting alternate this often.
const PERIOD: Duration = Duration::from_millis(10);
/// Turns of the loop between two looks at the clocks, some ten microseconds.
const TURNS: u64 = 10_000;

/// What one thread has burnt.
#[derive(Clone, Copy, Default)]
struct Burnt {
    cpu_time: Duration,
    iterations: u64,
}

/// Burns `load` percent of a core on each of `threads` threads.
pub(crate) fn spin(
    duration: Duration,
    threads: u32,
    load: u32,
    scene: &Scene<'_>,
) -> Result<Outcome, Problem> {
    let began = boot_time();
    scene.hold.begin(duration);
    let mut spinning = Vec::new();
    for number in 0..threads {
        let hold = Arc::clone(scene.hold);
        let name = format!("kitty-cpu-{number}");
        match thread::Builder::new().name(name).spawn(move || burn(&hold, load)) {
            Ok(handle) => spinning.push(handle),
            Err(error) => {
                scene.hold.stop(EndReason::Completed);
                spinning.into_iter().for_each(|handle| drop(handle.join()));
                let what = format!("starting thread {number} of {threads}: {error}");
                return Err(Problem::new(Code::TargetLimit, what).hint("ask for fewer cores"));
            }
        }
    }
    let requested_load = f64::from(threads) * f64::from(load);
    let asked = CpuResult { threads, requested_load, ..Default::default() };
    (scene.started)(Outcome::of(Figures::Cpu(asked)).seen(Phase::During, "spinning threads", threads));
    let burnt: Vec<Burnt> = spinning.into_iter().filter_map(|handle| handle.join().ok()).collect();
    let held = boot_time().saturating_sub(began);
    let cpu_time: Duration = burnt.iter().map(|burnt| burnt.cpu_time).sum();
    Ok(Outcome::of(Figures::Cpu(CpuResult {
        cpu_time: Some(cpu_time.into()),
        held: Some(held.into()),
        iterations: burnt.iter().map(|burnt| burnt.iterations).sum(),
        achieved_load: 100.0 * cpu_time.as_secs_f64() / held.as_secs_f64(),
        ..asked
    }))
    .seen(Phase::After, "spinning threads", 0))
}

fn burn(hold: &Hold, load: u32) -> Burnt {
    let (began, own) = (boot_time(), thread_time());
    let mut iterations = 0;
    while hold.ended().is_none() {
        let burnt = thread_time().saturating_sub(own);
        match rest(burnt, boot_time().saturating_sub(began), load) {
            Some(rest) => hold.wait_for(rest),
            None => {
                iterations += black_box((0..TURNS).fold(0, |sum, turn| sum + black_box(turn) / TURNS)) + 1
            }
        }
    }
    Burnt { cpu_time: thread_time().saturating_sub(own), iterations }
}

/// How long to rest until what was burnt is due. `None`: burn on, until a period's worth is ahead of time.
fn rest(burnt: Duration, elapsed: Duration, load: u32) -> Option<Duration> {
    let due_at = burnt * 100 / load;
    let ahead = due_at.checked_sub(elapsed)?;
    (load < 100 && ahead >= PERIOD * (100 - load) / 100).then_some(ahead)
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}
