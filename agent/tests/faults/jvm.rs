//! Needs a Java 17 runtime (`openjdk-17-jre-headless`); no JDK.

use std::{os::unix::process::CommandExt, process::Command, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, GcResult, action::Kind, action_result},
};

use crate::driver::{Target, action, eventually, start};

/// A virtual machine. Killed when dropped, and what it would have removed at its end is removed.
struct Machine(Target, u32);

impl std::ops::Deref for Machine {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.0
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = self.0.0.id();
        _ = self.0.0.kill();
        _ = self.0.0.wait();
        let user = if self.1 == 0 { "root" } else { "nobody" };
        for left in
            [format!(".java_pid{pid}"), format!(".attach_pid{pid}"), format!("hsperfdata_{user}/{pid}")]
        {
            _ = std::fs::remove_file(std::path::Path::new("/tmp").join(left));
        }
    }
}

/// One that does nothing: the RMI registry is part of every runtime.
fn machine(flags: &[&str], uid: u32) -> Machine {
    let mut command = Command::new("java");
    command.args(["-Xmx64m"]).args(flags).args(["-m", "java.rmi/sun.rmi.registry.RegistryImpl", "0"]);
    let target = Target::start(command.uid(uid).current_dir("/"));
    let process = target.process();
    let booted = || {
        // It has read its flags and set up its signals once it listens.
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let links = descriptors.filter_map(|one| std::fs::read_link(one.path()).ok());
        links.into_iter().any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    eventually("the virtual machine has started (is java installed?)", booted);
    Machine(target, uid)
}

async fn collect(target: &Target) -> Result<GcResult, Problem> {
    let held = start(&action(Kind::Gc(v1::TriggerGc {}), Duration::ZERO), &target.subject()).await?;
    match held.figures() {
        action_result::Kind::Gc(figures) => Ok(figures),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_collection_is_seen_with_every_collector() {
    for flags in [&["-XX:+UseG1GC"][..], &["-XX:+UseSerialGC"], &["-XX:+UseParallelGC"]] {
        let target = machine(flags, 0);
        let done = collect(&target).await.unwrap();
        assert_eq!(done.runtime, "hotspot");
        assert!(done.collections_after > done.collections_before, "{flags:?} {done:?}");
        assert!(
            done.bytes_before > 0 && done.bytes_after > 0 && done.bytes_after < done.bytes_before,
            "{done:?}"
        );
        collect(&target).await.expect("a second time, now that it listens");
    }
}

#[tokio::test]
async fn a_machine_of_another_user_collects_for_root() {
    let target = machine(&[], 65534);
    assert!(collect(&target).await.unwrap().bytes_after > 0);
}

#[tokio::test]
async fn a_machine_that_sigquit_would_end_is_refused_and_lives() {
    let target = machine(&["-Xrs"], 0);
    let refused = collect(&target).await.unwrap_err();
    assert_eq!(refused.code, Code::Unsupported);
    assert!(refused.hint.contains("-Xrs"), "{refused}");
    assert!(!target.process().has_ended());
}

#[tokio::test]
async fn a_machine_that_may_not_be_attached_to_is_refused_and_lives() {
    let target = machine(&["-XX:+DisableAttachMechanism"], 0);
    let refused = collect(&target).await.unwrap_err();
    assert_eq!(refused.code, Code::Unsupported);
    assert!(refused.hint.contains("DisableAttachMechanism"), "{refused}");
    assert!(!target.process().has_ended());
}

#[tokio::test]
async fn a_collection_that_did_not_happen_is_not_claimed() {
    let never = ["-XX:+UnlockExperimentalVMOptions", "-XX:+UseEpsilonGC"];
    let failed = collect(&machine(&never, 0)).await.unwrap_err();
    assert!(failed.message.contains("no collection happened"), "{failed}");
    // Some versions collect all the same.
    if let Ok(done) = collect(&machine(&["-XX:+DisableExplicitGC"], 0)).await {
        assert!(done.collections_after > done.collections_before, "{done:?}");
    }
}

#[tokio::test]
async fn without_counters_the_heap_shows_the_collection() {
    let done = collect(&machine(&["-XX:-UsePerfData"], 0)).await.unwrap();
    assert_eq!((done.collections_before, done.collections_after), (None, None));
    assert!(done.bytes_after < done.bytes_before, "{done:?}");
}

#[tokio::test]
async fn other_processes_are_refused_with_the_sdk_as_the_way() {
    let refused = collect(&Target::sleeper()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unsupported);
    assert!(refused.hint.contains("worker SDK"), "{refused}");
}
