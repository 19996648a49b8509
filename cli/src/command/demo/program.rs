//! The steps, as data.

use std::time::Duration;

use chaos_kitty::v1::{
    Action, AllocateMemory, Delay, Kill, RaiseError, RunScript, SpinCpu, TriggerGc, action::Kind, delay::Mode,
};

use super::{
    gauge::Gauge,
    step::{Check, On, Refusal, Step},
};

const MEMORY: u64 = 64 << 20;
/// Most of it: the allocator and the kernel round.
const MOST_OF_MEMORY: f64 = (60 << 20) as f64;

/// In percent of a core. What a busy machine leaves of the load that is asked for.
const SOME_LOAD: f64 = 5.0;

/// Every action, on every kind of target that takes it; and what is not taken, refused.
pub(super) fn steps() -> Vec<Step> {
    [on_workers(), on_processes(), on_the_host()].concat()
}

/// The third service is reached through the agent, the others directly.
fn on_workers() -> Vec<Step> {
    let worker = On::Worker;
    vec![
        step(worker(0), held(1000, delay()), &[(Gauge::Latency, 500.0)]),
        step(worker(2), held(2000, slow_requests()), &[(Gauge::Latency, 150.0)]),
        step(worker(0), held(1000, memory()), &[(Gauge::Resident, MOST_OF_MEMORY)]),
        step(worker(0), held(1500, cpu(80)), &[(Gauge::Load, SOME_LOAD)]),
        step(worker(0), at_once(Kind::Gc(TriggerGc {})), &[]),
        step(worker(2), held(2000, error(0.5)), &[(Gauge::Failures, 25.0)]),
        never(worker(0), held(1000, script())),
        step(worker(0), at_once(kill("TERM")), &[(Gauge::Gone, 1.0)]),
    ]
}

fn on_processes() -> Vec<Step> {
    let process = On::Process;
    vec![
        step(process(1), held(1000, delay()), &[(Gauge::Stopped, 1.0), (Gauge::Latency, 500.0)]),
        step(process(1), held(1000, memory()), &[(Gauge::StressResident, MOST_OF_MEMORY)]),
        step(process(1), held(1500, cpu(80)), &[(Gauge::StressLoad, SOME_LOAD)]),
        perhaps(process(1), held(1500, script()), &[(Gauge::StressLoad, SOME_LOAD)]),
        never(process(1), at_once(Kind::Gc(TriggerGc {}))),
        never(process(1), held(1000, error(1.0))),
        step(process(1), at_once(kill("KILL")), &[(Gauge::Gone, 1.0)]),
    ]
}

fn on_the_host() -> Vec<Step> {
    vec![
        step(On::Host, held(1000, memory()), &[(Gauge::StressResident, MOST_OF_MEMORY)]),
        step(On::Host, held(1500, cpu(60)), &[(Gauge::StressLoad, SOME_LOAD)]),
    ]
}

/// It must take effect.
fn step(on: On, action: Action, checks: &[(Gauge, f64)]) -> Step {
    let checks = checks.iter().map(|(gauge, rises)| Check { gauge: *gauge, rises: *rises }).collect();
    Step { action, on, checks, refusal: Refusal::Wrong }
}

/// It takes effect where rights and cgroups allow it.
fn perhaps(on: On, action: Action, checks: &[(Gauge, f64)]) -> Step {
    Step { refusal: Refusal::Possible, ..step(on, action, checks) }
}

/// Such a target can not take it.
fn never(on: On, action: Action) -> Step {
    Step { refusal: Refusal::Expected, ..step(on, action, &[]) }
}

/// An action that is held.
pub(super) fn held(milliseconds: u64, kind: Kind) -> Action {
    Action { duration: Some(Duration::from_millis(milliseconds).into()), kind: Some(kind) }
}

/// An action that holds nothing.
pub(super) fn at_once(kind: Kind) -> Action {
    Action { duration: None, kind: Some(kind) }
}

/// The target stands still.
pub(super) fn delay() -> Kind {
    Kind::Delay(Delay::default())
}

fn slow_requests() -> Kind {
    let per_request = Some(Duration::from_millis(200).into());
    Kind::Delay(Delay { mode: Mode::Requests.into(), per_request })
}

/// 64 MiB.
pub(super) fn memory() -> Kind {
    Kind::Memory(AllocateMemory { size_bytes: MEMORY })
}

fn cpu(load: u32) -> Kind {
    Kind::Cpu(SpinCpu { cores: 1, load })
}

fn error(probability: f64) -> Kind {
    Kind::Error(RaiseError { probability: Some(probability), ..Default::default() })
}

fn kill(signal: &str) -> Kind {
    Kind::Kill(Kill { signal: signal.to_owned(), ..Kill::default() })
}

fn script() -> Kind {
    Kind::Script(RunScript { name: "cpuBurn.sh".to_owned(), ..Default::default() })
}
