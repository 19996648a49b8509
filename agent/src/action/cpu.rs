//! Processor time: a stressor in the target's cgroup burns it.

use std::{os::fd::OwnedFd, process::Stdio, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, CpuResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Process, Undo, clock::boot_time, hooks, message::Reverted};
use futures_util::future::FutureExt;
use rustix::{process::Pid, thread::sched_getaffinity};

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence, hold_of,
    watch::{OFTEN, Seen, Watch},
};
use crate::{
    host::{self, membership, process::stands_still},
    platform::Subject,
    stress::{board, spawn::Stressor},
};

/// How long a released stressor may take to burn its first millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stressor that burns nothing for this long takes nothing away.
const STALLED: Duration = Duration::from_secs(3);

/// Processor time that is taken away from a target, or from a host.
#[derive(Debug)]
pub(super) struct Cpu {
    order: v1::SpinCpu,
    hold: Duration,
    target: Option<Process>,
    plan: Plan,
    running: Option<(Stressor, OwnedFd)>,
    in_force: Duration,
    watch: Watch,
    /// What it had burnt, and when that was last seen to grow.
    burnt: (Duration, Duration),
    figures: Option<CpuResult>,
}

impl Cpu {
    pub(super) fn new(order: &v1::SpinCpu, action: &v1::Action, subject: &Subject) -> Result<Self, Problem> {
        if order.load > 100 {
            return Err(Problem::invalid("action.cpu.load", "percent of a core, 1 to 100"));
        }
        Ok(Self {
            order: *order,
            hold: hold_of(action),
            target: subject.main,
            plan: Plan { threads: 0, load: 0.0 },
            running: None,
            in_force: Duration::ZERO,
            watch: Watch::every(OFTEN),
            burnt: (Duration::ZERO, Duration::ZERO),
            figures: None,
        })
    }

    async fn look(&mut self) -> Result<Prepared, Problem> {
        let available = available(self.target)?;
        self.plan = plan(&self.order, available)?;
        super::takes_stressors(self.target)?;
        let counters = |error| Problem::internal(format!("making the stressor's counters: {error}"));
        let board = board::create(self.plan.threads).map_err(counters)?;
        let shared = board.try_clone().map_err(counters)?;
        let arguments = ["cpu".to_owned(), self.plan.threads.to_string(), self.plan.load.to_string()];
        let stressor = Stressor::spawn(&arguments, Stdio::from(shared))?;
        let undos = vec![Undo::EndProcesses { processes: vec![stressor.process()] }];
        self.running = Some((stressor, board));
        let before = vec![evidence(Phase::Before, "cores it may use", available)];
        Ok(Prepared { undos, evidence: before, ..Prepared::default() })
    }

    async fn burn(&mut self) -> Result<Duration, Problem> {
        let (stressor, _) = self.running.as_mut().ok_or_else(super::out_of_order)?;
        stressor.place(self.target)?;
        hooks::point("agent-mid-cpu");
        self.in_force = stressor.release(self.hold).await?;
        Ok(self.in_force)
    }

    async fn look_at_it(&mut self) -> Result<Vec<v1::Evidence>, Problem> {
        let until = boot_time() + PATIENCE;
        loop {
            let figures = self.read(boot_time())?;
            let burnt = Duration::try_from(figures.cpu_time.unwrap_or_default()).unwrap_or_default();
            self.figures = Some(figures);
            if burnt >= Duration::from_millis(1) {
                return Ok(vec![evidence(
                    Phase::During,
                    "stressor's processor time (ms)",
                    burnt.as_millis(),
                )]);
            }
            let (stressor, _) = self.running.as_mut().ok_or_else(super::out_of_order)?;
            if stressor.has_ended() {
                return Err(stressor.last_words().await);
            }
            if boot_time() >= until {
                return Err(Problem::new(Code::TargetLimit, "the stressor got no processor time")
                    .hint("the target's cgroup is out of its quota, frozen, or its cores are busy"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Looks at intervals whether it burns, until it does not.
    async fn burns(&mut self) -> Result<(), Problem> {
        let mut pause = Duration::ZERO;
        loop {
            let stressor = self.running.as_mut().map(|(stressor, _)| stressor);
            tokio::select! {
                ended = super::stressor_ended(stressor) => {
                    self.watch.over_since(boot_time());
                    return ended;
                }
                () = tokio::time::sleep(pause) => {}
            }
            let looked = boot_time();
            let seen = self.goes_on(looked);
            pause = self.watch.saw(looked, seen)?;
        }
    }

    fn goes_on(&mut self, now: Duration) -> Seen {
        let Ok(figures) = self.read(now) else { return Seen::Nothing };
        let burnt = Duration::try_from(figures.cpu_time.unwrap_or_default()).unwrap_or_default();
        let (before, since) = self.burnt;
        if burnt > before || since.is_zero() {
            self.burnt = (burnt, now);
            return Seen::InForce;
        }
        let stopped = self
            .running
            .as_ref()
            .is_some_and(|(stressor, _)| stands_still(&stressor.process()).unwrap_or(false));
        if !stopped && now.saturating_sub(since) < STALLED {
            return Seen::Nothing;
        }
        let why = if stopped { "the stressor was stopped" } else { "the stressor gets no processor time" };
        Seen::Lost(
            Problem::new(
                Code::EffectLost,
                format!("{why} after {:.1?}", since.saturating_sub(self.in_force)),
            )
            .hint("look who stopped it, and whether the target's cgroup is frozen or out of its quota"),
        )
    }

    /// The figures as the counters are, at a time.
    fn read(&self, at: Duration) -> Result<CpuResult, Problem> {
        let (_, board) = self.running.as_ref().ok_or_else(super::out_of_order)?;
        let slots = board::read(board, self.plan.threads)
            .map_err(|error| Problem::internal(format!("reading the stressor's counters: {error}")))?;
        let cpu_time = Duration::from_nanos(slots.iter().map(|slot| slot.cpu_nanos).sum());
        let held = at.saturating_sub(self.in_force);
        Ok(CpuResult {
            cpu_time: Some(cpu_time.into()),
            held: Some(held.into()),
            threads: u32::try_from(self.plan.threads).unwrap_or(u32::MAX),
            iterations: slots.iter().map(|slot| slot.iterations).sum(),
            achieved_load: 100.0 * cpu_time.as_secs_f64() / held.as_secs_f64().max(f64::MIN_POSITIVE),
            requested_load: self.plan.total(),
        })
    }
}

impl Fault for Cpu {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::Cpu)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look().boxed()
    }

    fn inject<'a>(&'a mut self, _arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.burn().boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        self.look_at_it().boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.map(action_result::Kind::Cpu)
    }

    fn over(&mut self) -> Step<'_, ()> {
        self.burns().boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async {
            super::settled(self.running.as_mut().map(|(stressor, _)| stressor)).await?;
            self.figures = Some(self.read(self.watch.until(reverted))?);
            Ok(vec![evidence(Phase::After, "stressor", "ended")])
        }
        .boxed()
    }
}

/// What the stressor does.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    threads: usize,
    /// Percent of a core, of each thread.
    load: f64,
}

impl Plan {
    /// Percent of a core, of all threads.
    fn total(&self) -> f64 {
        self.load * self.threads as f64
    }
}

/// Cores that a target may use: its quota, and not more than it may run on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Available {
    cores: usize,
    quota: Option<f64>,
}

impl Available {
    fn quota(&self) -> f64 {
        self.quota.unwrap_or(f64::INFINITY).min(self.cores as f64)
    }
}

impl std::fmt::Display for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.quota {
            Some(quota) => write!(f, "{} ({quota} by its quota)", self.cores),
            None => write!(f, "{}", self.cores),
        }
    }
}

fn available(target: Option<Process>) -> Result<Available, Problem> {
    let pid = target.map_or_else(std::process::id, |target| target.pid);
    let gone = || Problem::new(Code::TargetGone, format!("process {pid} is gone"));
    let allowed = sched_getaffinity(i32::try_from(pid).ok().and_then(Pid::from_raw)).map_err(|_| gone())?;
    let unseen = |error| host::unseen(format_args!("the cgroups of process {pid}"), error);
    let quota =
        membership::of(pid).and_then(|memberships| membership::cpu_quota(&memberships)).map_err(unseen)?;
    Ok(Available { cores: allowed.count() as usize, quota })
}

/// Without cores: percent of the quota, spread over as few threads as can burn it. With cores: percent of each.
fn plan(order: &v1::SpinCpu, available: Available) -> Result<Plan, Problem> {
    let load = if order.load == 0 { 100.0 } else { f64::from(order.load) };
    let quota = available.quota();
    if order.cores == 0 {
        let threads = (quota.ceil() as usize).max(1);
        return Ok(Plan { threads, load: load * quota / threads as f64 });
    }
    let wanted = f64::from(order.cores) * load / 100.0;
    let cores = order.cores as usize;
    if cores > available.cores || wanted > quota {
        let what = format!("{cores} cores at {load} % are more than the target has: it may use {available}");
        return Err(Problem::new(Code::TooMuch, what).hint("ask for fewer cores or less load"));
    }
    Ok(Plan { threads: cores, load })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(cores: u32, load: u32) -> v1::SpinCpu {
        v1::SpinCpu { cores, load }
    }

    #[test]
    fn without_cores_it_is_percent_of_the_quota() {
        let quota = Available { cores: 8, quota: Some(1.5) };
        assert_eq!(plan(&order(0, 80), quota).unwrap(), Plan { threads: 2, load: 60.0 });
        let all = Available { cores: 4, quota: None };
        assert_eq!(plan(&order(0, 0), all).unwrap(), Plan { threads: 4, load: 100.0 });
    }

    #[test]
    fn with_cores_it_is_percent_of_each() {
        let all = Available { cores: 4, quota: None };
        assert_eq!(plan(&order(2, 80), all).unwrap(), Plan { threads: 2, load: 80.0 });
    }

    #[test]
    fn more_than_the_quota_or_the_cores_is_refused_and_named() {
        let problem = plan(&order(2, 80), Available { cores: 4, quota: Some(1.5) }).unwrap_err();
        assert_eq!(problem.code, Code::TooMuch);
        assert!(problem.message.contains("1.5 by its quota"), "{problem}");
        assert!(plan(&order(5, 10), Available { cores: 4, quota: None }).is_err());
    }

    proptest! {
        #[test]
        fn a_plan_keeps_the_total_and_overloads_no_thread(
            cores in 0u32..10, load in 0u32..=100, have in 1usize..9, quota in prop::option::of(0.05f64..9.0),
        ) {
            let available = Available { cores: have, quota };
            if let Ok(plan) = plan(&order(cores, load), available) {
                let percent = if load == 0 { 100.0 } else { f64::from(load) };
                let base = if cores == 0 { available.quota() } else { f64::from(cores) };
                prop_assert!((plan.total() - percent * base).abs() < 1e-6);
                prop_assert!(plan.load <= 100.0 + 1e-9 && plan.threads <= have.max(1));
            }
        }
    }
}
