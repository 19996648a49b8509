use std::{process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{self, MemoryResult, action::Kind, action_result},
};
use chaos_kitty_guard::Process;
use rustix::process::Signal;

use crate::{
    cgroup::Cgroup,
    driver::{Held, Target, action, eventually, host, start},
};

const MIB: u64 = 1 << 20;

fn memory(size_bytes: u64) -> v1::Action {
    action(Kind::Memory(v1::AllocateMemory { size_bytes }), Duration::from_secs(60))
}

fn figures(kind: action_result::Kind) -> MemoryResult {
    match kind {
        action_result::Kind::Memory(figures) => figures,
        other => panic!("{other:?}"),
    }
}

/// Anonymous resident bytes of a process, as the kernel sums them up.
fn anonymous(held: &Held) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", held.stressors()[0])).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn memory_is_resident_to_the_page_and_given_back() {
    let size = 64 * MIB + 1;
    let held = start(&memory(size), &host()).await.unwrap();
    let page = rustix::param::page_size() as u64;
    let resident = figures(held.figures()).resident_bytes;
    assert_eq!(resident, size.div_ceil(page) * page);
    assert!(anonymous(&held) >= resident && anonymous(&held) < resident + 4 * MIB);
    let stressor = held.stressors()[0];
    let done = figures(held.revert().await);
    assert_eq!(done.returned_bytes, resident);
    assert!(done.held.is_some() && done.time_to_resident.is_some());
    assert!(stressor.has_ended());
}

#[tokio::test]
async fn memory_counts_against_the_limits_of_the_target() {
    let cgroup = Cgroup::with("memory");
    let limit = (256 * MIB).to_string();
    cgroup.set(("memory.limit_in_bytes", &limit), ("memory.max", &limit));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let held = start(&memory(64 * MIB), &target.subject()).await.unwrap();
    assert!(cgroup.pids().contains(&held.stressors()[0].pid));
    held.revert().await;

    let refused = start(&memory(512 * MIB), &target.subject()).await.err().unwrap();
    assert_eq!(refused.code, Code::TargetLimit);
    assert!(!target.process().has_ended());
    drop(target);
}

#[tokio::test]
async fn a_limit_that_shrinks_stops_the_stressor_short_and_spares_the_target() {
    let cgroup = Cgroup::with("memory");
    let limit = (256 * MIB).to_string();
    cgroup.set(("memory.limit_in_bytes", &limit), ("memory.max", &limit));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let held = start(&memory(160 * MIB), &target.subject()).await.unwrap();
    let second = start(&memory(96 * MIB), &target.subject()).await.err().unwrap();
    assert_eq!(second.code, Code::TargetLimit, "{second}");
    held.revert().await;
    assert!(!target.process().has_ended());
    drop(target);
}

#[tokio::test]
async fn more_than_the_host_has_is_refused() {
    let refused = start(&memory(1 << 60), &host()).await.err().unwrap();
    assert!(matches!(refused.code, Code::TooMuch | Code::TargetLimit), "{refused}");
    assert_eq!(start(&memory(0), &host()).await.err().unwrap().code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_stressor_ends_with_its_agents_pipe() {
    let mut held = start(&memory(MIB), &host()).await.unwrap();
    let stressor = held.stressors()[0];
    held.undos.clear();
    drop(held);
    eventually("the stressor ends by itself", || stressor.has_ended());
}

#[tokio::test]
async fn a_stressor_ends_when_its_own_time_is_over() {
    let short = v1::Action { duration: Some(Duration::from_millis(50).into()), ..memory(MIB) };
    let mut held = start(&short, &host()).await.unwrap();
    held.fault.over().await.unwrap();
    assert!(held.stressors()[0].has_ended());
}

#[tokio::test]
async fn a_stressor_that_somebody_kills_broke_off() {
    let mut held = start(&memory(MIB), &host()).await.unwrap();
    held.stressors()[0].signal(Signal::KILL).unwrap();
    let problem = held.fault.over().await.unwrap_err();
    assert_eq!(problem.code, Code::BrokeOff);
    assert!(problem.message.contains("SIGKILL"), "{problem}");
}

#[tokio::test]
async fn a_stressor_that_runs_out_of_memory_goes_first_and_says_so() {
    let cgroup = Cgroup::with("memory");
    let limit = (128 * MIB).to_string();
    cgroup.set(("memory.limit_in_bytes", &limit), ("memory.max", &limit));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let mut held = start(&memory(80 * MIB), &target.subject()).await.unwrap();
    // The target grows: tail keeps all of it.
    let grow = format!(
        "echo $$ > {}/cgroup.procs; head -c {} /dev/zero | tail -c {} | sleep 600",
        cgroup.folder.display(),
        64 * MIB,
        64 * MIB
    );
    let grown = Target::start(Command::new("sh").args(["-c", &grow]));
    let problem = held.fault.over().await.unwrap_err();
    assert_eq!(problem.code, Code::TargetLimit);
    assert!(problem.message.contains("out-of-memory"), "{problem}");
    assert!(!target.process().has_ended() && !grown.process().has_ended());
    drop((held, target));
    for pid in cgroup.pids() {
        Process::now(pid).map(|process| process.signal(Signal::KILL));
    }
}
