//! What only a host with control groups of version 2 and their controllers shows: `tests/run --guest`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails with the place and the cause"
)]

use std::time::Duration;

use chaos_kitty::{
    Code,
    v1::{
        Action, AllocateMemory, SpinCpu, action::Kind, action_result::Kind as Figures,
        action_state::Name as State,
    },
};
use chaos_kitty_tests::{
    Sandbox,
    booted::{Booted, PROGRAMS},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_hurt_within_its_cpu_quota_and_its_memory_limit() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let machine = Booted::new(&sandbox).await;
    let flags = "--server unix:/shared/chaos_kitty.ipc --state /run/agent --name host-1 --systemd toad";
    let agent = format!("[Service]\nExecStart={PROGRAMS}/kitty-agent {flags}\nKillMode=process\n");
    machine.install_unit("agent.service", &agent);
    let limits = "CPUAccounting=yes\nCPUQuota=50%\nMemoryMax=128M\n";
    machine.install_unit("toad.service", &format!("[Service]\nExecStart=/bin/sleep 3600\n{limits}"));
    machine.must(&["systemctl", "start", "toad", "agent"]);
    let toad = server.target("toad.service").await;

    let held = |kind, seconds| {
        let duration = Duration::from_secs(seconds);
        Action { duration: Some(duration.into()), kind: Some(kind) }
    };
    let usage = || {
        let nanoseconds = machine.property("toad.service", "CPUUsageNSec");
        Duration::from_nanos(nanoseconds.parse().unwrap()).as_secs_f64()
    };
    let before = usage();
    let spin = held(Kind::Cpu(SpinCpu { load: 60, ..SpinCpu::default() }), 6);
    let burnt = server.unleash(&toad.id, spin).await.unwrap();
    assert_eq!(burnt.state(), State::Reverted, "{burnt:?}");
    let Some(Figures::Cpu(cpu)) = burnt.result.and_then(|result| result.kind) else { panic!("no figures") };
    let used = usage() - before;
    println!("{used} s of processor time in 6 s at 60 % of half a CPU, by the stressor {:?}", cpu.cpu_time);
    assert!((1.7..=1.9).contains(&used), "0.3 CPU for 6 s: {used}");

    let memory = |mebibytes: u64| held(Kind::Memory(AllocateMemory { size_bytes: mebibytes << 20 }), 1);
    let taken = server.unleash(&toad.id, memory(64)).await.unwrap();
    assert_eq!(taken.state(), State::Reverted, "{taken:?}");
    let refused = server.unleash(&toad.id, memory(200)).await.unwrap();
    assert_eq!(refused.state(), State::Refused, "{refused:?}");
    assert_eq!(refused.problem.unwrap().code, Code::TargetLimit.number());
    assert_eq!(machine.property("toad.service", "MainPID"), toad.pids[0].to_string(), "the service lives");
}
