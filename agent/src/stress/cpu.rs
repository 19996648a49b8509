//! `stress cpu THREADS LOAD`: each thread burns LOAD percent of one core, by its own processor clock.

use std::{hint::black_box, io, process::ExitCode, thread, time::Duration};

use chaos_kitty_guard::clock::boot_time;
use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

use super::{
    GRACE,
    board::{self, Slot},
    released::{self, Release},
};

/// A thread burns its share of each period, then sleeps until the next one.
const PERIOD: Duration = Duration::from_millis(50);

/// What a thread could not burn while others had its core is made up for, up to this much.
const MOST_DEBT: Duration = Duration::from_secs(1);

/// Rounds between two looks at the clock, a few tens of microseconds.
const ROUNDS: u64 = 20_000;

pub(super) fn run(threads: usize, load: f64) -> io::Result<ExitCode> {
    let Some(release) = released::wait()? else { return Ok(ExitCode::SUCCESS) };
    // Now that it is in the target's cpuset.
    let allowed = sched_getaffinity(None)?;
    // The target pays for that too: what was used to get here is part of the share.
    let begun = time_of(ClockId::ProcessCPUTime) / u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    for index in 0..threads {
        let core = cores[index % cores.len().max(1)];
        thread::Builder::new().spawn(move || {
            // Without its core to itself it burns the same, only less evenly.
            let mut only = CpuSet::new();
            only.set(core);
            let _ = sched_setaffinity(None, &only);
            burn(index, load / 100.0, begun, release);
        })?;
    }
    released::pipe_ended(release.start + release.hold + GRACE);
    Ok(ExitCode::SUCCESS)
}

/// Until the process ends. `begun`: processor time that counts, besides what is burnt here.
fn burn(index: usize, share: f64, begun: Duration, release: Release) {
    let before = time_of(ClockId::ThreadCPUTime);
    let mut pace = Pace { share, begun, forgiven: Duration::ZERO };
    let mut iterations = 0;
    loop {
        let elapsed = boot_time().saturating_sub(release.start);
        let used = time_of(ClockId::ThreadCPUTime).saturating_sub(before);
        let slot = Slot { cpu_nanos: u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), iterations };
        if board::write(io::stdout(), index, slot).is_err() {
            return;
        }
        match pace.rest(elapsed, used) {
            Duration::ZERO => iterations += spin(),
            rest => thread::sleep(rest),
        }
    }
}

/// Keeps processor time in step with time.
struct Pace {
    /// Of one core, 0 to 1.
    share: f64,
    /// What the start has used. It takes the place of up to half of what is burnt, until it is made up for: a small share
    /// is in force at once, too.
    begun: Duration,
    /// Debt that is not made up for any more.
    forgiven: Duration,
}

impl Pace {
    /// How long to sleep. Zero: burn.
    fn rest(&mut self, elapsed: Duration, used: Duration) -> Duration {
        let used = used + self.begun.min(elapsed.mul_f64(self.share / 2.0));
        let period = elapsed.as_nanos() / PERIOD.as_nanos();
        let nth = |n: u128| PERIOD * u32::try_from(n).unwrap_or(u32::MAX);
        let due = |at: Duration| at.mul_f64(self.share).saturating_sub(self.forgiven);
        let debt = due(nth(period)).saturating_sub(used);
        if debt > MOST_DEBT {
            self.forgiven += debt - MOST_DEBT;
        }
        let due = nth(period + 1).mul_f64(self.share).saturating_sub(self.forgiven);
        if used < due { Duration::ZERO } else { nth(period + 1).saturating_sub(elapsed) }
    }
}

/// The processor time of this thread or process.
fn time_of(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Xorshift: arithmetic that is not optimised away and touches no memory.
fn spin() -> u64 {
    let mut x = black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..ROUNDS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
    ROUNDS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A core on a clock of its own: burning passes by steps of 50 µs, of which `stolen` of 10 go to others.
    fn simulate(share: f64, seconds: u64, stolen: impl Fn(Duration) -> u32) -> Duration {
        let pace = Pace { share, begun: Duration::ZERO, forgiven: Duration::ZERO };
        follow(pace, Duration::from_secs(seconds), stolen)
    }

    fn follow(mut pace: Pace, time: Duration, stolen: impl Fn(Duration) -> u32) -> Duration {
        let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
        const STEP: Duration = Duration::from_micros(50);
        while now < time {
            match pace.rest(now, used) {
                Duration::ZERO => {
                    used += STEP * (10 - stolen(now)) / 10;
                    now += STEP;
                }
                rest => now += rest,
            }
        }
        used
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_free_core_gives_what_was_asked(load in 1u32..=100) {
            let share = f64::from(load) / 100.0;
            let used = simulate(share, 4, |_| 0);
            prop_assert!((used.as_secs_f64() / 4.0 - share).abs() <= 0.002, "{used:?}");
        }
    }

    #[test]
    fn what_the_start_used_is_part_of_the_share_and_a_small_share_is_in_force_at_once_all_the_same() {
        let begun = Duration::from_millis(200);
        let pace = |share| Pace { share, begun, forgiven: Duration::ZERO };
        let used = follow(pace(0.3), Duration::from_secs(4), |_| 0) + begun;
        assert!((used.as_secs_f64() - 1.2).abs() < 0.02, "{used:?}");
        let used = follow(pace(0.01), Duration::from_millis(500), |_| 0);
        assert!(used >= Duration::from_millis(2), "half of 1 % of 500 ms: {used:?}");
    }

    #[test]
    fn what_was_stolen_is_made_up_for_within_limits() {
        let stolen = |now: Duration| if now.as_secs() == 1 { 10 } else { 0 };
        let used = simulate(0.5, 6, stolen);
        assert!((used.as_secs_f64() - 3.0).abs() < 0.02, "half a second of debt: {used:?}");
        let stolen = |now: Duration| if (1..5).contains(&now.as_secs()) { 10 } else { 0 };
        let used = simulate(0.5, 10, stolen);
        assert!((used.as_secs_f64() - 4.0).abs() < 0.06, "one of two seconds is forgiven: {used:?}");
    }
}
