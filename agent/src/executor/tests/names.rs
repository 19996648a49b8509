//! Names of processes hold any byte, and change at any time: no tree is less whole for that.

use std::{collections::HashSet, process::Command};

use chaos_kitty::v1::{self, action::Kind, action_result, action_state::Name as State};

use super::bench::*;
use crate::host::process::{Process, name, tree};

/// A child of each byte in its name, and threads that never cease to rename themselves and their process.
const TREE: &str = "
import os, signal, threading
def rename(name):
    with open('/proc/thread-self/comm', 'wb', 0) as file: file.write(name)
for byte in range(1, 256):
    if os.fork() == 0:
        rename(bytes([107, byte, 41, 32, byte]))
        signal.pause()
def restless():
    while True:
        for byte in range(1, 256): rename(bytes([byte, 41, 196]))
for _ in range(3): threading.Thread(target=restless).start()
restless()
";

#[tokio::test]
async fn a_tree_with_names_of_every_byte_is_paused_and_killed_whole() {
    let mut bench = Bench::start().await;
    let victim = Victim::of(Command::new("python3").args(["-c", TREE]));
    bench.offer(victim.subject("t"));
    let children = || tree(victim.process()).unwrap().split_off(1);
    let named = |bytes: &mut HashSet<u8>, process: &Process| {
        if let Ok(Some(name)) = name(process.pid)
            && let [b'k', byte, b')', b' ', ..] = name[..]
        {
            bytes.insert(byte);
        }
    };
    eventually("each has its name", || {
        let mut bytes = HashSet::new();
        children().iter().for_each(|process| named(&mut bytes, process));
        bytes.len() == 255
    })
    .await;
    let all = tree(victim.process()).unwrap();
    assert_eq!(all.len(), 256);

    bench.delay("a", "t", HOUR);
    let started = bench.started("a").await;
    assert!(seen(&started).contains(&"During processes stopped=256 of 256".to_owned()), "{started:?}");
    assert!(all.iter().all(|process| process.stat().unwrap().state == 'T'));
    bench.executor.stop("a");
    bench.expect("a", State::Reverted).await;
    assert!(all.iter().all(|process| process.stat().unwrap().state != 'T'));

    let kill = v1::Kill { signal: "KILL".to_owned(), tree: true, ..v1::Kill::default() };
    bench.executor.start(order("b", "t", Kind::Kill(kill), None));
    bench.expect("b", State::Accepted).await;
    let done = bench.expect("b", State::Done).await;
    let Some(action_result::Kind::Kill(result)) = done.result.and_then(|result| result.kind) else {
        panic!("no figures of a kill")
    };
    assert_eq!(result.pids.len(), 256);
    eventually("all have ended", || all.iter().all(Process::has_ended)).await;
}
