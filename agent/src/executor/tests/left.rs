//! What is written in the journal, and what becomes of what was left there.

use std::{fs, time::Duration};

use chaos_kitty::{
    Code,
    v1::{ActionReport, action_state::Name as State},
};
use chaos_kitty_guard::Undo;

use super::bench::{Bench, HOUR, PUT_BACK, Victim, eventually};
use crate::{
    host::boot_id,
    journal::{
        Held,
        folder::{self, Records},
    },
};

fn held(id: &str, undos: Vec<Undo>) -> Held {
    let target = "process/h/x:1".to_owned();
    Held { id: id.to_owned(), target, action: None, boot: boot_id(), epoch: 1, undos }
}

fn fails() -> Undo {
    // The kernel never lets it.
    Undo::RemoveFile { path: "/proc/self/stat".into() }
}

#[tokio::test]
async fn what_is_in_force_is_in_the_journal_and_what_is_put_back_is_not() {
    let mut bench = Bench::start().await;
    let victim = bench.victim("t");
    bench.delay("a", "t", HOUR);
    bench.started("a").await;
    let left = folder::look(&bench.journal()).unwrap();
    assert_eq!((left.len(), left[0].id.as_str(), left[0].target.as_str()), (1, "a", "t"));
    assert_eq!(left[0].undos, [Undo::Continue { processes: vec![victim.process()] }]);
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    eventually("it is over", || folder::look(&bench.journal()).unwrap().is_empty()).await;
}

#[tokio::test]
async fn what_an_earlier_agent_left_is_put_back_before_anything_is_admitted() {
    let victim = Victim::start();
    victim.signal(rustix::process::Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    let go_on = Undo::Continue { processes: vec![victim.process()] };
    let mut bench = Bench::after(vec![held("a", vec![go_on])]).await;
    assert_ne!(victim.state(), 'T');
    assert!(bench.executor.held().is_empty());
    assert!(folder::look(&bench.journal()).unwrap().is_empty());
    bench.offer(victim.subject("t"));
    bench.delay("b", "t", Duration::from_millis(20));
    bench.started("b").await;
}

#[tokio::test]
async fn what_the_guard_had_put_back_is_left_as_somebody_else_has_made_it_since() {
    let victim = Victim::start();
    victim.signal(rustix::process::Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    let go_on = Undo::Continue { processes: vec![victim.process()] };
    let bench = Bench::after(vec![held(PUT_BACK, vec![go_on])]).await;
    assert_eq!(victim.state(), 'T');
    assert!(folder::look(&bench.journal()).unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_of_which_everything_is_gone_is_stuck_too() {
    let bench = Bench::after(vec![held("a", Vec::new())]).await;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    drop(Records::begin(&journal, vec![held("a", Vec::new())]).unwrap());
    fs::write(journal.join("records"), "").unwrap();
    assert!(bench.executor.held().is_empty());
    let bench = Bench::on(folder).await;
    let stuck = bench.executor.held();
    assert_eq!((stuck.len(), stuck[0].state()), (1, State::Stuck));
    let hint = &stuck[0].problem.as_ref().unwrap().hint;
    assert!(hint.contains("kitty-agent revert --clear"), "{hint}");
}

#[tokio::test]
async fn what_can_not_be_put_back_is_stuck_with_a_command_and_tried_again_at_the_next_start() {
    let bench = Bench::after(vec![held("a", vec![fails()])]).await;
    let stuck: Vec<ActionReport> = bench.executor.held();
    assert_eq!((stuck.len(), stuck[0].state()), (1, State::Stuck));
    let problem = stuck[0].problem.as_ref().unwrap();
    assert_eq!(problem.code, Code::Stuck.number());
    assert!(problem.hint.contains("rm -f /proc/self/stat"), "{problem:?}");
    assert_eq!(folder::look(&bench.journal()).unwrap()[0].id, "a");
}

#[tokio::test]
async fn another_boot_of_the_host_has_undone_what_does_not_outlive_it() {
    let victim = Victim::start();
    victim.signal(rustix::process::Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    let go_on = Undo::Continue { processes: vec![victim.process()] };
    let file = tempfile::NamedTempFile::new().unwrap();
    let remove = Undo::RemoveFile { path: file.path().to_owned() };
    let earlier = Held { boot: "another".to_owned(), ..held("a", vec![go_on, remove]) };
    let bench = Bench::after(vec![earlier]).await;
    assert_eq!(victim.state(), 'T', "the pid is another process's now");
    assert!(!file.path().exists());
    assert!(folder::look(&bench.journal()).unwrap().is_empty());
}

#[tokio::test]
async fn after_an_acknowledged_record_was_destroyed_nothing_is_admitted_until_a_person_clears_it() {
    let victim = Victim::start();
    victim.signal(rustix::process::Signal::STOP);
    eventually("it stands still", || victim.state() == 'T').await;
    let go_on = Undo::Continue { processes: vec![victim.process()] };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    drop(Records::begin(&journal, vec![held("a", vec![go_on]), held("b", Vec::new())]).unwrap());
    let mut bytes = fs::read(journal.join("records")).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(journal.join("records"), bytes).unwrap();
    let mut bench = Bench::on(folder).await;
    assert_eq!(victim.state(), 'T', "nothing is guessed at");
    let stuck = bench.executor.held();
    assert_eq!((stuck.len(), stuck[0].action_id.as_str()), (1, "a"));
    assert!(stuck[0].problem.as_ref().unwrap().hint.contains("kill -CONT"), "{stuck:?}");
    bench.offer(victim.subject("t"));
    bench.kill("k", "t", "TERM");
    bench.refused("k", Code::JournalUnavailable).await;
    folder::clear(&bench.journal()).unwrap();
    bench.executor.recover().await;
    bench.delay("d", "t", HOUR);
    bench.refused("d", Code::AlreadyInState).await;
}
