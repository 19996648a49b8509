//! Faults that somebody else ends before their time: the report says what was seen.

use std::{process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{ActionReport, action_state::Name as State, end_reason::Name as EndReason},
};
use rustix::process::Signal;

use super::bench::{Bench, HOUR, Victim, eventually, held};
use crate::host::process::tree;

fn code(report: &ActionReport) -> Option<u32> {
    report.problem.as_ref().map(|problem| problem.code)
}

#[tokio::test]
async fn a_pause_that_somebody_else_ends_failed_and_was_held_as_seen() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    let duration = Duration::from_secs(30);
    bench.delay("a", "t", duration);
    bench.started("a").await;
    victim.signal(Signal::CONT);
    let over = bench.expect("a", State::Failed).await;
    assert_eq!(code(&over), Some(Code::EffectLost.number()), "{over:?}");
    assert!(held(&over) < duration / 2, "{:?}", held(&over));
    assert_ne!(victim.state(), 'T');
    eventually("nothing is held", || bench.executor.held().is_empty()).await;
}

#[tokio::test]
async fn one_process_of_a_paused_tree_that_goes_on_ends_it() {
    let mut bench = Bench::start().await;
    let victim = Victim::of(Command::new("/bin/sh").args(["-c", "sleep 600 & wait"]));
    bench.offer(victim.subject("t"));
    eventually("it has a child", || tree(victim.process()).unwrap().len() == 2).await;
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let child = tree(victim.process()).unwrap()[1];
    child.signal(Signal::CONT).unwrap();
    let over = bench.expect("a", State::Failed).await;
    assert_eq!(code(&over), Some(Code::EffectLost.number()), "{over:?}");
    assert_ne!(victim.state(), 'T', "the rest is put back");
}

#[tokio::test]
async fn a_child_that_is_killed_in_a_pause_is_no_loss() {
    let mut bench = Bench::start().await;
    let victim = Victim::of(Command::new("/bin/sh").args(["-c", "sleep 600 & sleep 600 & wait"]));
    bench.offer(victim.subject("t"));
    // The other one keeps it: a shell without children ends as soon as it runs again.
    eventually("it has two children", || tree(victim.process()).unwrap().len() == 3).await;
    bench.delay("a", "t", Duration::from_millis(800));
    bench.started("a").await;
    tree(victim.process()).unwrap()[1].signal(Signal::KILL).unwrap();
    let over = bench.expect("a", State::Reverted).await;
    assert_eq!(over.end_reason(), EndReason::Deadline, "{over:?}");
}
