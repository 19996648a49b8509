//! Several faults on one target.

use std::time::Duration;

use chaos_kitty::{
    Code,
    v1::{self, Action, action::Kind},
};
use chaos_kitty_agent::host::membership::{self, CgroupVersion};

use crate::{
    cgroup::Cgroup,
    driver::{self, Target, action, start},
};

const HOUR: Duration = Duration::from_secs(3600);

fn pause() -> Action {
    action(Kind::Delay(v1::Delay::default()), HOUR)
}

fn memory() -> Action {
    action(Kind::Memory(v1::AllocateMemory { size_bytes: 8 << 20 }), HOUR)
}

fn cpu() -> Action {
    action(Kind::Cpu(v1::SpinCpu { cores: 1, load: 10 }), HOUR)
}

fn script() -> Action {
    action(Kind::Script(driver::script("#!/bin/sh\nsleep 600\n", &[])), HOUR)
}

#[tokio::test]
async fn what_is_held_on_a_paused_target_ends_before_the_pause_does() {
    let cgroup = Cgroup::with("freezer");
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let subject = target.subject();
    let paused = start(&pause(), &subject).await.unwrap();
    let mut others = Vec::new();
    for other in [memory(), cpu(), script()] {
        others.push(start(&other, &subject).await.unwrap());
    }
    for other in others {
        other.revert().await;
    }
    assert_eq!(std::fs::read_to_string(cgroup.folder.join("freezer.state")).unwrap(), "FROZEN\n");
    paused.revert().await;
    drop(target);
}

#[tokio::test]
async fn nothing_is_put_into_a_cgroup_in_which_it_would_stand_still() {
    let own = membership::of(std::process::id()).unwrap();
    let unified = own.into_iter().find(|one| one.version == CgroupVersion::V2).expect("a cgroup2 mount");
    let cgroup = Cgroup::below(&unified);
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let paused = start(&pause(), &target.subject()).await.unwrap();
    let refused = start(&script(), &target.subject()).await.err().unwrap();
    assert_eq!(refused.code, Code::AlreadyInState);
    paused.revert().await;
    start(&script(), &target.subject()).await.unwrap().revert().await;
    drop(target);
}
