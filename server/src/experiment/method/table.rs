//! The built-in methods.

use chaos_kitty::v1::{
    AllocateMemory, Delay, Kill, RaiseError, Restart, ScaleDown, SpinCpu, Stop, TriggerGc, action::Kind,
    experiment_type::Name as Type,
};

use super::{Health, Method};
use crate::fleet::PLATFORMS;

/// A built-in method.
pub(super) struct BuiltIn {
    name: &'static str,
    kind: Type,
    /// Platforms that have targets which can take it.
    platforms: &'static [&'static str],
    health: Health,
    cattle_only: bool,
    /// What it does unless its parameters say otherwise.
    action: fn() -> Kind,
    description: &'static str,
}

const ALL: &[&str] = &PLATFORMS;
const WORKER: &[&str] = &["WorkerPlatform"];
const PROCESSES: &[&str] =
    &["WorkerPlatform", "ProcessPlatform", "SystemdPlatform", "DockerPlatform", "KubernetesPlatform"];
const SYSTEMD: &[&str] = &["SystemdPlatform"];
const DOCKER: &[&str] = &["DockerPlatform"];
const KUBERNETES: &[&str] = &["KubernetesPlatform"];

/// Every built-in method of every platform: one line each.
#[rustfmt::skip]
pub(super) const BUILT_IN: &[BuiltIn] = &[
    // name, kind, platforms, health, cattle only, action, description
    built_in("delay",          Type::State,    PROCESSES, Health::Normal,   false, delay,  "The target stands still"),
    built_in("killProcess",    Type::State,    PROCESSES, Health::Recycled, true,  kill,   "The target's main process is ended by SIGTERM"),
    built_in("allocateMemory", Type::Resource, ALL,       Health::Normal,   false, memory, "Memory is allocated and held on the target's account"),
    built_in("spinCpu",        Type::Resource, ALL,       Health::Normal,   false, cpu,    "All processor time that the target may use is burnt"),
    built_in("triggerGc",      Type::Resource, PROCESSES, Health::Normal,   false, gc,     "The target's garbage collector runs"),
    built_in("restartUnit",    Type::State,    SYSTEMD,   Health::Recycled, false, restart, "systemd restarts the unit"),
    built_in("stopUnit",       Type::State,    SYSTEMD,   Health::Recycled,   false, stop,   "systemd stops the unit, and starts it again at the end"),
    built_in("restartContainer", Type::State,  DOCKER,    Health::Recycled, false, restart, "The Engine restarts the container"),
    built_in("stopContainer",  Type::State,    DOCKER,    Health::Recycled,   false, stop,   "The Engine stops the container, and starts it again at the end"),
    built_in("killContainer",  Type::State,    DOCKER,    Health::Recycled, false, stop_by_kill, "The Engine kills the container, and starts it again at the end"),
    built_in("deletePod",      Type::State,    KUBERNETES, Health::Recycled, true, delete, "The pod is deleted through the API without grace; with the signal TERM, with its own"),
    built_in("evictPod",       Type::State,    KUBERNETES, Health::Recycled, true, evict,  "The pod is evicted through the API, if its disruption budget allows it"),
    built_in("scaleDown",      Type::State,    KUBERNETES, Health::Complete, false, scale,   "The pod's Deployment or StatefulSet keeps one replica, and as many as before at the end"),
    built_in("raiseError",     Type::Network,  WORKER,    Health::Normal,   false, error,  "The requests that the worker SDK guards fail"),
];

/// A line of the table.
const fn built_in(
    name: &'static str,
    kind: Type,
    platforms: &'static [&'static str],
    health: Health,
    cattle_only: bool,
    action: fn() -> Kind,
    description: &'static str,
) -> BuiltIn {
    BuiltIn { name, kind, platforms, health, cattle_only, action, description }
}

/// Bytes that `allocateMemory` holds unless it is told otherwise.
const MEMORY: u64 = 256 << 20;

fn delay() -> Kind {
    Kind::Delay(Delay::default())
}
fn kill() -> Kind {
    Kind::Kill(Kill::default())
}
fn delete() -> Kind {
    Kind::Kill(Kill { signal: "KILL".to_owned(), through_runtime: true, ..Kill::default() })
}
fn evict() -> Kind {
    Kind::Kill(Kill { evict: true, ..Kill::default() })
}
fn scale() -> Kind {
    Kind::Scale(ScaleDown { replicas: 1 })
}
fn restart() -> Kind {
    Kind::Restart(Restart {})
}
fn stop() -> Kind {
    Kind::Stop(Stop::default())
}
fn stop_by_kill() -> Kind {
    Kind::Stop(Stop { kill: true })
}
fn memory() -> Kind {
    Kind::Memory(AllocateMemory { size_bytes: MEMORY })
}
fn cpu() -> Kind {
    Kind::Cpu(SpinCpu::default())
}
fn gc() -> Kind {
    Kind::Gc(TriggerGc {})
}
fn error() -> Kind {
    Kind::Error(RaiseError::default())
}

impl From<&BuiltIn> for Method {
    fn from(line: &BuiltIn) -> Self {
        Self {
            name: line.name.to_owned(),
            description: line.description.to_owned(),
            kind: line.kind,
            platforms: line.platforms.iter().map(|&platform| platform.to_owned()).collect(),
            health: line.health,
            cattle_only: line.cattle_only,
            // What they take is bounded, or shared fairly by the kernel.
            harms_host: false,
            action: (line.action)(),
            script: None,
            source: None,
            minimum: None,
            maximum: None,
        }
    }
}
