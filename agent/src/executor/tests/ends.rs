//! Every way to the end of a fault.

use std::{process::Command, sync::Arc, time::Duration};

use chaos_kitty::{
    Code,
    lease::boot_time,
    v1::{self, action::Kind, action_state::Name as State, end_reason::Name as EndReason},
};
use chaos_kitty_guard::{Undo, message::Reverted};
use futures_util::future::FutureExt;
use rustix::process::Signal;
use tokio::sync::watch;

use super::{
    super::{admission::Admitted, life::live},
    bench::{Bench, HOUR, Victim, eventually, held, order, seen},
};
use crate::{
    action::{Arm, Fault, Prepared, Resource, Step},
    host::process::{Process, tree},
};

#[tokio::test]
async fn a_pause_is_held_for_its_duration_and_put_back_on_evidence() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    eventually("its program is read", || victim.state() == 'S').await;
    let duration = Duration::from_millis(300);
    bench.delay("a", "t", duration);
    let started = bench.started("a").await;
    assert_eq!(victim.state(), 'T');
    assert!(started.remaining.is_some());
    let over = bench.expect("a", State::Reverted).await;
    assert_eq!(over.end_reason(), EndReason::Deadline);
    assert_ne!(victim.state(), 'T');
    assert!(held(&over) >= duration, "{:?}: early", held(&over));
    assert!(held(&over) < duration * 20);
    let expected = [
        "Before process state=S",
        "During process state=T",
        "During processes stopped=1 of 1",
        "After process state=S",
    ];
    assert_eq!(seen(&over), expected);
    eventually("it is forgotten", || bench.executor.held().is_empty()).await;
}

#[tokio::test]
async fn an_order_to_stop_ends_one_a_halt_ends_all_and_a_reconnect_ends_what_is_not_known() {
    let mut bench = Bench::start().await;
    let victims = ["t", "u", "v"].map(|id| bench.victim(id));
    for (action, target) in [("a", "t"), ("b", "u"), ("c", "v")] {
        bench.delay(action, target, HOUR);
        bench.started(action).await;
    }
    assert_eq!(bench.executor.held().len(), 3);
    bench.executor.stop("a");
    assert_eq!(bench.expect("a", State::Reverted).await.end_reason(), EndReason::Stopped);
    bench.executor.keep_only(&["c".to_owned()]);
    assert_eq!(bench.expect("b", State::Reverted).await.end_reason(), EndReason::Stopped);
    assert_eq!(victims[2].state(), 'T');
    bench.executor.revert_all();
    assert_eq!(bench.expect("c", State::Reverted).await.end_reason(), EndReason::Halted);
    assert!(victims.iter().all(|victim| victim.state() != 'T'));
}

#[tokio::test]
async fn a_fault_ends_with_the_lease_and_a_renewal_extends_it() {
    let mut bench = Bench::without_lease().await;
    let victim = bench.victim("t");
    bench.executor.renew(boot_time() + Duration::from_millis(900));
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let until = boot_time() + Duration::from_millis(1500);
    bench.executor.renew(until);
    assert_eq!(bench.expect("a", State::Reverted).await.end_reason(), EndReason::Lease);
    assert!(boot_time() >= until);
    assert_ne!(victim.state(), 'T');
    bench.delay("b", "t", HOUR);
    bench.refused("b", Code::OrderTooLate).await;
}

#[tokio::test]
async fn a_target_that_dies_ends_its_fault() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    victim.signal(Signal::KILL);
    let over = bench.expect("a", State::Reverted).await;
    assert_eq!(over.end_reason(), EndReason::TargetGone);
}

#[tokio::test]
async fn a_guard_that_is_killed_or_hangs_is_replaced_and_what_it_held_is_put_back_by_the_agent() {
    for signal in [Signal::KILL, Signal::STOP] {
        let mut bench = Bench::start().await;
        let victim = bench.victim("t");
        bench.delay("a", "t", HOUR);
        bench.started("a").await;
        let guard = bench.executor.shared.link.pid().unwrap();
        Process::now(guard).unwrap().signal(signal).unwrap();
        let over = bench.expect("a", State::Reverted).await;
        assert_eq!(over.end_reason(), EndReason::GuardGone, "{signal:?}");
        assert_ne!(victim.state(), 'T');
        eventually("there is a new guard", || {
            bench.executor.shared.link.pid().is_some_and(|pid| pid != guard)
        })
        .await;
        bench.delay("b", "t", Duration::from_millis(50));
        bench.started("b").await;
        assert_eq!(bench.expect("b", State::Reverted).await.end_reason(), EndReason::Deadline);
    }
}

#[tokio::test]
async fn a_guard_that_is_told_to_end_puts_back_what_it_held() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let guard = bench.executor.shared.link.pid().unwrap();
    Process::now(guard).unwrap().signal(Signal::TERM).unwrap();
    assert_eq!(bench.expect("a", State::Reverted).await.end_reason(), EndReason::GuardGone);
    assert_ne!(victim.state(), 'T');
}

#[tokio::test]
async fn a_shutdown_puts_everything_back_with_evidence_and_ends_the_guard() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let guard = Process::now(bench.executor.shared.link.pid().unwrap()).unwrap();
    bench.executor.shutdown().await;
    let over = bench.expect("a", State::Reverted).await;
    assert_eq!(over.end_reason(), EndReason::Shutdown);
    assert!(seen(&over).contains(&"After process state=S".to_owned()));
    assert_ne!(victim.state(), 'T');
    assert!(guard.has_ended());
    bench.delay("b", "t", HOUR);
    bench.refused("b", Code::AgentUnreachable).await;
}

#[tokio::test]
async fn a_tree_that_forks_while_it_is_being_stopped_stands_still_as_a_whole_and_goes_on_as_a_whole() {
    let mut bench = Bench::start().await;
    let script = "while :; do sleep 20 & sleep 0.002; done";
    let victim = Victim::of(Command::new("/bin/sh").args(["-c", script]));
    bench.offer(victim.subject("t"));
    eventually("it forks", || tree(victim.process()).unwrap().len() > 8).await;
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let still = tree(victim.process()).unwrap();
    assert!(still.len() > 5);
    assert!(still.iter().filter_map(Process::stat).all(|stat| matches!(stat.state, 'T' | 'Z')));
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    assert!(still.iter().filter_map(Process::stat).all(|stat| stat.state != 'T'));
}

/// A pause by an agent that hangs on the way.
struct Late {
    victim: Process,
    hangs: Duration,
}

impl Fault for Late {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::RunState)
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        let undos = vec![Undo::Continue { processes: vec![self.victim] }];
        async { Ok(Prepared { undos, ..Prepared::default() }) }.boxed()
    }

    fn inject<'a>(&'a mut self, _: &'a dyn Arm) -> Step<'a, Duration> {
        async {
            std::thread::sleep(self.hangs);
            self.victim.signal(Signal::STOP).unwrap();
            Ok(boot_time())
        }
        .boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn figures(&self) -> Option<v1::action_result::Kind> {
        None
    }

    fn settle<'a>(&'a mut self, _: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        self.verify()
    }
}

#[tokio::test]
async fn what_comes_into_force_after_the_guard_has_ended_it_is_put_back_at_once() {
    let mut bench = Bench::without_lease().await;
    let victim = bench.victim("t");
    bench.executor.renew(boot_time() + Duration::from_millis(300));
    let fault = Box::new(Late { victim: victim.process(), hangs: Duration::from_millis(900) });
    let journal = bench.executor.shared.state().journal.clone().unwrap();
    let subject = Arc::new(victim.subject("t"));
    let begin_by = boot_time() + HOUR;
    let admitted = Admitted { fault, subject, journal, duration: HOUR, begin_by };
    let order = order("a", "t", Kind::Delay(v1::Delay::default()), Some(HOUR));
    let (_stop, stopped) = watch::channel(None);
    live(bench.executor.shared.clone(), order, admitted, stopped).await;
    bench.started("a").await;
    assert_eq!(bench.expect("a", State::Reverted).await.end_reason(), EndReason::Lease);
    assert_ne!(victim.state(), 'T');
}

#[tokio::test]
async fn what_waited_for_too_long_in_a_stopped_agent_is_not_begun() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    let fault = Box::new(Late { victim: victim.process(), hangs: Duration::ZERO });
    let journal = bench.executor.shared.state().journal.clone().unwrap();
    let subject = Arc::new(victim.subject("t"));
    let admitted = Admitted { fault, subject, journal, duration: HOUR, begin_by: boot_time() };
    let order = order("a", "t", Kind::Delay(v1::Delay::default()), Some(HOUR));
    let (_stop, stopped) = watch::channel(None);
    live(bench.executor.shared.clone(), order, admitted, stopped).await;
    bench.expect("a", State::Accepted).await;
    let problem = bench.expect("a", State::Failed).await.problem.unwrap();
    assert_eq!(problem.code, Code::OrderTooLate.number());
    assert_ne!(victim.state(), 'T');
}

#[tokio::test]
async fn a_parent_that_waits_for_its_vforked_child_counts_as_standing_still() {
    let mut bench = Bench::start().await;
    // The child of a vfork that never calls exec keeps its parent in the kernel.
    let script = "import ctypes, time\nlibc = ctypes.CDLL(None)\nif libc.vfork() == 0: libc.sleep(600)";
    let victim = Victim::of(Command::new("python3").args(["-c", script]));
    bench.offer(victim.subject("t"));
    eventually("it waits for its child", || {
        tree(victim.process()).unwrap().len() == 2 && victim.state() == 'D'
    })
    .await;
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    assert_eq!(tree(victim.process()).unwrap()[1].stat().unwrap().state, 'T');
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    assert_ne!(tree(victim.process()).unwrap()[1].stat().unwrap().state, 'T');
}
