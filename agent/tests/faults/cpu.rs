use std::{
    fs,
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code,
    v1::{self, CpuResult, action::Kind, action_result},
};

use crate::{
    cgroup::Cgroup,
    driver::{PATIENCE, Target, action, host, start},
};

fn cpu(cores: u32, load: u32) -> v1::Action {
    action(Kind::Cpu(v1::SpinCpu { cores, load }), Duration::from_secs(60))
}

fn figures(kind: action_result::Kind) -> CpuResult {
    match kind {
        action_result::Kind::Cpu(figures) => figures,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn load_is_what_was_asked_by_the_stressors_own_clock() {
    let mut held = start(&cpu(1, 20), &host()).await.unwrap();
    let stressor = held.stressors()[0];
    // What others take of the core is made up for once they leave it. 4 points: twenty times the goal.
    let started = Instant::now();
    loop {
        held.fault.verify().await.unwrap();
        let now = figures(held.figures());
        assert!(now.achieved_load <= 24.0 || started.elapsed() < Duration::from_secs(1), "{now:?}");
        if now.achieved_load >= 16.0 && started.elapsed() >= Duration::from_secs(1) {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let done = figures(held.revert().await);
    assert!((16.0..=24.0).contains(&done.achieved_load), "{done:?}");
    assert_eq!((done.threads, done.requested_load), (1, 20.0));
    assert!(done.iterations > 0 && stressor.has_ended());
}

#[tokio::test]
async fn without_cores_it_is_a_share_of_the_targets_quota() {
    let cgroup = Cgroup::with("cpu");
    cgroup.set(("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000"));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let held = start(&cpu(0, 40), &target.subject()).await.unwrap();
    assert!(cgroup.pids().contains(&held.stressors()[0].pid));
    let done = figures(held.revert().await);
    assert_eq!((done.threads, done.requested_load), (1, 20.0));

    let refused = start(&cpu(1, 80), &target.subject()).await.err().unwrap();
    assert_eq!(refused.code, Code::TooMuch);
    assert!(refused.message.contains("0.5 by its quota"), "{refused}");
    drop(target);
}

#[tokio::test]
async fn a_stressor_stays_on_the_cores_of_its_target() {
    let target = Target::sleeper();
    let mut one = rustix::thread::CpuSet::new();
    one.set(0);
    let pid = rustix::process::Pid::from_raw(target.0.id() as i32).unwrap();
    rustix::thread::sched_setaffinity(Some(pid), &one).unwrap();
    let held = start(&cpu(1, 1), &target.subject()).await.unwrap();
    let stressor = held.stressors()[0];
    for task in fs::read_dir(format!("/proc/{stressor}/task")).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    }
    held.revert().await;
    assert_eq!(start(&cpu(2, 1), &target.subject()).await.err().unwrap().code, Code::TooMuch);
}

#[tokio::test]
async fn more_than_everything_is_refused() {
    assert_eq!(start(&cpu(1, 101), &host()).await.err().unwrap().code, Code::InvalidArgument);
    assert_eq!(start(&cpu(100_000, 1), &host()).await.err().unwrap().code, Code::TooMuch);
}

#[tokio::test]
async fn a_stressor_that_somebody_stops_takes_nothing_away() {
    let mut held = start(&cpu(1, 50), &host()).await.unwrap();
    held.stressors()[0].signal(rustix::process::Signal::STOP).unwrap();
    let lost = held.fault.over().await.unwrap_err();
    assert_eq!(lost.code, Code::EffectLost);
    assert!(lost.message.contains("stopped"), "{lost}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let done = figures(held.revert().await);
    assert!(Duration::try_from(done.held.unwrap()).unwrap() < Duration::from_millis(900), "{done:?}");
}

#[tokio::test]
async fn a_stressor_that_gets_no_processor_time_is_seen() {
    let cgroup = Cgroup::with("freezer");
    let mut held = start(&cpu(1, 50), &host()).await.unwrap();
    cgroup.add(held.stressors()[0].pid);
    cgroup.set(("freezer.state", "FROZEN"), ("cgroup.freeze", "1"));
    let lost = held.fault.over().await.unwrap_err();
    assert_eq!(lost.code, Code::EffectLost, "{lost}");
    cgroup.set(("freezer.state", "THAWED"), ("cgroup.freeze", "0"));
    held.revert().await;
}
