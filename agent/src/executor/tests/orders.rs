//! What is admitted, and what is refused.

use std::{process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{self, action::Kind, action_result, action_state::Name as State, end_reason::Name as EndReason},
};
use rustix::process::Signal;

use super::bench::{Bench, HOUR, Victim, eventually, order, seen};
use crate::host::process::Process;

#[tokio::test]
async fn the_same_id_starts_nothing_twice_neither_during_nor_after() {
    let mut bench = Bench::start().await;
    let _victim = bench.victim("t");
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    bench.delay("a", "t", HOUR);
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    bench.delay("a", "t", HOUR);
    bench.delay("b", "t", HOUR);
    bench.started("b").await;
}

#[tokio::test]
async fn a_second_fault_on_a_process_that_is_held_is_refused_through_whatever_target() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.offer(victim.subject("alias"));
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    for (action, target) in [("b", "t"), ("c", "alias")] {
        bench.delay(action, target, HOUR);
        bench.refused(action, Code::AlreadyHeld).await;
    }
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    bench.delay("d", "alias", HOUR);
    bench.started("d").await;
}

#[tokio::test]
async fn a_process_below_one_that_is_held_is_held_too() {
    let mut bench = Bench::start().await;
    let parent = Victim::of(Command::new("/bin/sh").args(["-c", "sleep 600 & wait"]));
    bench.offer(parent.subject("parent"));
    let child = || crate::host::process::tree(parent.process()).unwrap().get(1).copied();
    eventually("it has a child", || child().is_some()).await;
    bench.offer(crate::platform::Subject { main: child(), ..parent.subject("child") });
    bench.delay("a", "parent", HOUR);
    bench.started("a").await;
    bench.delay("b", "child", HOUR);
    bench.refused("b", Code::AlreadyHeld).await;
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    bench.delay("c", "child", HOUR);
    bench.started("c").await;
    bench.delay("d", "parent", HOUR);
    bench.refused("d", Code::AlreadyHeld).await;
}

#[tokio::test]
async fn what_somebody_else_stopped_is_refused_and_stays_stopped() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    victim.signal(Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    bench.delay("a", "t", HOUR);
    bench.refused("a", Code::AlreadyInState).await;
    assert_eq!(victim.state(), 'T');
}

#[tokio::test]
async fn a_recycled_pid_is_never_hit() {
    let mut bench = Bench::start().await;
    let victim = Victim::start();
    let mut earlier = victim.subject("t");
    // What has the pid now started later than what the target was.
    let now = victim.process();
    earlier.main = Some(Process { start_time: now.start_time - 1, ..now });
    bench.offer(earlier);
    bench.kill("a", "t", "KILL");
    bench.refused("a", Code::TargetGone).await;
    bench.delay("b", "t", HOUR);
    bench.refused("b", Code::TargetGone).await;
    bench.offer(victim.subject("t"));
    let old = v1::StartAction {
        incarnation: "0".to_owned(),
        ..order("c", "t", Kind::Kill(v1::Kill::default()), None)
    };
    bench.executor.start(old);
    bench.refused("c", Code::Recycled).await;
    assert_eq!(victim.state(), 'S');
}

#[tokio::test]
async fn nothing_is_admitted_while_latched_nor_without_a_lease() {
    let mut bench = Bench::without_lease().await;
    let _victim = bench.victim("t");
    bench.kill("a", "t", "TERM");
    bench.refused("a", Code::OrderTooLate).await;
    bench.executor.renew(chaos_kitty::lease::boot_time() + HOUR);
    bench.executor.latch();
    bench.kill("b", "t", "TERM");
    bench.refused("b", Code::Halted).await;
    bench.executor.unlatch();
    bench.kill("c", "t", "TERM");
    bench.expect("c", State::Accepted).await;
}

#[tokio::test]
async fn more_faults_at_a_time_than_the_host_allows_are_refused() {
    let mut bench = Bench::start().await;
    let _victims = ["t", "u", "v", "w"].map(|id| bench.victim(id));
    for (action, target) in [("a", "t"), ("b", "u"), ("c", "v")] {
        bench.delay(action, target, HOUR);
        bench.started(action).await;
    }
    bench.delay("d", "w", HOUR);
    bench.refused("d", Code::LimitReached).await;
}

#[tokio::test]
async fn a_pause_needs_a_duration_and_a_kill_takes_none() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.executor.start(order("a", "t", Kind::Delay(v1::Delay::default()), None));
    bench.refused("a", Code::InvalidArgument).await;
    bench.delay("b", "t", Duration::ZERO);
    bench.refused("b", Code::InvalidArgument).await;
    bench.executor.start(order("c", "t", Kind::Kill(v1::Kill::default()), Some(HOUR)));
    bench.refused("c", Code::InvalidArgument).await;
    bench
        .executor
        .start(v1::StartAction { action: None, ..order("d", "t", Kind::Gc(v1::TriggerGc {}), None) });
    bench.refused("d", Code::InvalidArgument).await;
    assert_eq!(victim.state(), 'S');
}

#[tokio::test]
async fn a_signal_ends_the_target_and_the_end_is_seen() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    eventually("its program is read", || victim.state() == 'S').await;
    let pid = victim.process().pid;
    bench.kill("a", "t", "SIGTERM");
    bench.expect("a", State::Accepted).await;
    let done = bench.expect("a", State::Done).await;
    assert_eq!(done.end_reason(), EndReason::Completed);
    let Some(action_result::Kind::Kill(result)) = done.result.clone().and_then(|result| result.kind) else {
        panic!("no figures")
    };
    assert_eq!((result.signal.as_str(), result.pids.as_slice(), result.ended), ("TERM", &[pid][..], true));
    assert_eq!(seen(&done), ["Before process state=S", "After process state=gone"]);
}

#[tokio::test]
async fn a_signal_that_is_handled_or_pending_is_done_and_the_target_is_seen_to_live() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    victim.signal(Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    bench.kill("a", "t", "15");
    bench.expect("a", State::Accepted).await;
    let done = bench.expect("a", State::Done).await;
    assert_eq!(seen(&done), ["Before process state=T", "After process state=T"]);
}

#[tokio::test]
async fn a_signal_that_would_stop_the_target_and_an_unknown_one_are_refused() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    for (action, signal) in [("a", "STOP"), ("b", "20"), ("c", "SIGTTIN"), ("d", "MEOW"), ("e", "0")] {
        bench.kill(action, "t", signal);
        bench.refused(action, Code::InvalidArgument).await;
    }
    assert_eq!(victim.state(), 'S');
}

#[tokio::test]
async fn a_tree_with_a_protected_process_in_it_is_left_alone() {
    let mut bench = Bench::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sshd = folder.path().join("sshd");
    std::fs::copy("/bin/sleep", &sshd).unwrap();
    let script = format!("{} 600 & wait", sshd.display());
    let victim = Victim::of(Command::new("/bin/sh").args(["-c", &script]));
    bench.offer(victim.subject("t"));
    let named = |process: &Process| {
        crate::host::process::name(process.pid).unwrap().is_some_and(|name| name == b"sshd")
    };
    eventually("it has its child", || {
        crate::host::process::tree(victim.process()).unwrap().iter().any(named)
    })
    .await;
    bench.delay("a", "t", HOUR);
    bench.refused("a", Code::Protected).await;
    assert_eq!(victim.state(), 'S');
}

#[tokio::test]
async fn a_target_that_is_not_there_is_refused() {
    let mut bench = Bench::start().await;
    bench.kill("a", "t", "TERM");
    bench.refused("a", Code::TargetGone).await;
}
