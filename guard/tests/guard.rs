//! The real guard, with this test as its agent, or with an agent of its own that is killed.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests: a panic is how they fail")]

use std::{
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chaos_kitty_guard::{
    CgroupVersion, Process, Undo,
    clock::boot_time,
    message::{Answer, Order, Reverted, Why, line},
};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

/// A process that is killed when the test is over.
struct Victim(Child);

impl Victim {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn stopped() -> Self {
        let victim = Self::start();
        victim.process().signal(Signal::STOP).unwrap();
        eventually("it stands still", || victim.state() == 'T');
        victim
    }

    fn process(&self) -> Process {
        Process::now(self.0.id()).unwrap()
    }

    fn state(&self) -> char {
        self.process().stat().unwrap().state
    }

    fn go_on(&self) -> Vec<Undo> {
        vec![Undo::Continue { processes: vec![self.process()] }]
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Guard {
    child: Child,
    socket: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Guard {
    fn start() -> Self {
        Self::with_lease(Duration::from_secs(60))
    }

    fn with_lease(lease: Duration) -> Self {
        Self::with(lease, Stdio::null())
    }

    fn with(lease: Duration, stdout: Stdio) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kitty-guard"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout)
            .spawn()
            .unwrap();
        let answers = BufReader::new(ours.try_clone().unwrap());
        let mut guard = Self { child, socket: ours, answers };
        assert_eq!(guard.answer(), Answer::Ready);
        guard.lease(lease);
        guard
    }

    fn say(&mut self, order: &Order) {
        self.socket.write_all(&line(order).unwrap()).unwrap();
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn lease(&mut self, length: Duration) {
        self.say(&Order::Lease { until: boot_time() + length });
    }

    fn arm(&mut self, id: &str, undos: Vec<Undo>, length: Duration) -> Duration {
        let deadline = boot_time() + length;
        self.say(&Order::Arm { id: id.to_owned(), undos, deadline: Some(deadline) });
        assert_eq!(self.answer(), Answer::Armed { id: id.to_owned() });
        deadline
    }

    fn reverted(&mut self) -> Reverted {
        match self.answer() {
            Answer::Reverted(reverted) => reverted,
            other => panic!("{other:?} instead of an end"),
        }
    }

    fn ended(&mut self) {
        eventually("the guard ends", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_fault_ends_at_its_deadline_and_never_before() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    let deadline = guard.arm("a", victim.go_on(), Duration::from_millis(300));
    assert_eq!(victim.state(), 'T');
    let reverted = guard.reverted();
    assert_eq!((reverted.id.as_str(), reverted.why), ("a", Why::Deadline));
    assert!(reverted.at >= deadline, "{:?} early", deadline - reverted.at);
    assert!(reverted.at < deadline + Duration::from_millis(100), "{:?} late", reverted.at - deadline);
    assert_ne!(victim.state(), 'T');
}

#[test]
fn a_fault_ends_with_the_lease_however_long_it_was_to_last() {
    let (mut guard, victim) = (Guard::with_lease(Duration::from_millis(300)), Victim::stopped());
    let armed = boot_time();
    guard.arm("a", victim.go_on(), HOUR);
    let reverted = guard.reverted();
    assert_eq!(reverted.why, Why::Lease);
    assert!(reverted.at < armed + Duration::from_secs(5));
    assert_ne!(victim.state(), 'T');
}

#[test]
fn a_renewed_lease_and_a_later_deadline_move_the_end_and_an_earlier_lease_does_not() {
    let (mut guard, victim) = (Guard::with_lease(Duration::from_millis(300)), Victim::stopped());
    guard.arm("a", victim.go_on(), Duration::from_millis(200));
    let at = boot_time() + Duration::from_millis(700);
    guard.lease(HOUR);
    guard.lease(Duration::from_millis(1));
    guard.say(&Order::Deadline { id: "a".to_owned(), at });
    let reverted = guard.reverted();
    assert_eq!(reverted.why, Why::Deadline);
    assert!(reverted.at >= at);
}

#[test]
fn an_order_ends_one_fault_at_once_and_leaves_the_others() {
    let (mut guard, one, other) = (Guard::start(), Victim::stopped(), Victim::stopped());
    guard.arm("one", one.go_on(), HOUR);
    guard.arm("other", other.go_on(), HOUR);
    guard.say(&Order::Revert { id: "one".to_owned() });
    let reverted = guard.reverted();
    assert_eq!((reverted.id.as_str(), reverted.why), ("one", Why::Ordered));
    assert_eq!(reverted.outcomes.len(), 1);
    assert_eq!(reverted.failures().count(), 0);
    assert_ne!(one.state(), 'T');
    assert_eq!(other.state(), 'T');
    guard.say(&Order::RevertAll);
    let ids = [guard.reverted().id, guard.reverted().id];
    assert_eq!(ids, ["one", "other"], "until it is disarmed it is put back again");
}

#[test]
fn what_was_disarmed_is_left_alone() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    guard.arm("a", victim.go_on(), HOUR);
    guard.say(&Order::Disarm { id: "a".to_owned() });
    guard.say(&Order::RevertAll);
    guard.say(&Order::Ping);
    assert_eq!(guard.answer(), Answer::Alive);
    assert_eq!(victim.state(), 'T');
}

#[test]
fn undos_that_were_armed_later_replace_the_earlier_ones() {
    let (mut guard, one, other) = (Guard::start(), Victim::stopped(), Victim::stopped());
    guard.arm("a", one.go_on(), HOUR);
    let processes = vec![one.process(), other.process()];
    guard.say(&Order::Arm { id: "a".to_owned(), undos: vec![Undo::Continue { processes }], deadline: None });
    assert_eq!(guard.answer(), Answer::Armed { id: "a".to_owned() });
    guard.say(&Order::Revert { id: "a".to_owned() });
    guard.reverted();
    assert!(one.state() != 'T' && other.state() != 'T');
}

#[test]
fn an_agent_that_hangs_in_mid_injection_and_goes_on_with_it_after_the_end_injects_nothing_for_long() {
    let (mut guard, victim) = (Guard::with_lease(Duration::from_millis(100)), Victim::start());
    guard.arm("a", victim.go_on(), HOUR);
    assert_eq!(guard.reverted().why, Why::Lease);
    // The agent has not said that it is through with it, and hangs right after having injected it.
    victim.process().signal(Signal::STOP).unwrap();
    eventually("it goes on", || victim.state() != 'T');
    victim.process().signal(Signal::STOP).unwrap();
    eventually("it goes on again", || victim.state() != 'T');
    guard.say(&Order::Ping);
    assert_eq!(guard.answer(), Answer::Alive, "that was not told each time");
}

#[test]
fn what_it_needs_to_put_back_stays_in_memory_and_it_dumps_none() {
    let guard = Guard::start();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", guard.child.id())).unwrap();
    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_ascii_whitespace().nth(4), Some("0"), "{core}");
    let status = read("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    assert_ne!(locked.trim(), "0 kB");
}

#[test]
fn an_agent_that_closes_the_socket_is_gone_and_the_guard_puts_back_and_ends() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    guard.arm("a", victim.go_on(), HOUR);
    guard.socket.shutdown(Shutdown::Both).unwrap();
    eventually("it goes on", || victim.state() != 'T');
    guard.ended();
}

#[test]
fn what_is_put_back_after_an_agents_end_is_written_down_and_what_failed_or_may_be_injected_still_is_not() {
    // Of what is not understood, the agent may be there still.
    for (is_gone, written) in [(true, "a\n"), (false, "")] {
        let mut file = tempfile::tempfile().unwrap();
        let mut guard = Guard::with(HOUR, Stdio::from(file.try_clone().unwrap()));
        guard.arm("a", Vec::new(), HOUR);
        let fails = Undo::Run { argv: vec!["/bin/false".to_owned()], limit: Duration::from_secs(1) };
        guard.arm("b", vec![fails], HOUR);
        if is_gone {
            guard.socket.shutdown(Shutdown::Both).unwrap();
        } else {
            guard.socket.write_all(b"no json\n").unwrap();
        }
        guard.ended();
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, written);
    }
}

#[test]
fn a_signal_makes_the_guard_put_back_tell_and_end() {
    for signal in [Signal::TERM, Signal::HUP, Signal::ABORT] {
        let (mut guard, victim) = (Guard::start(), Victim::stopped());
        guard.arm("a", victim.go_on(), HOUR);
        Process::now(guard.child.id()).unwrap().signal(signal).unwrap();
        assert_eq!(guard.reverted().why, Why::Signal);
        assert_ne!(victim.state(), 'T');
        guard.ended();
    }
}

#[test]
fn what_is_not_understood_is_taken_for_an_agent_that_is_gone() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    guard.arm("a", victim.go_on(), HOUR);
    guard.socket.write_all(b"no json\n").unwrap();
    eventually("it goes on", || victim.state() != 'T');
    guard.ended();
}

#[test]
fn an_agent_that_does_not_read_keeps_nothing_from_being_put_back() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    guard.arm("a", victim.go_on(), Duration::from_millis(1500));
    // More answers than the socket holds: a guard that waited for us would never get to the deadline.
    guard.socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let pings = line(&Order::Ping).unwrap().repeat(100_000);
    _ = guard.socket.write_all(&pings);
    eventually("it goes on", || victim.state() != 'T');
}

#[test]
fn children_are_killed_a_program_is_run_and_what_fails_is_told_with_its_command() {
    let (mut guard, mut child) = (Guard::start(), Victim::start());
    let folder = tempfile::tempdir().unwrap();
    let (mark, made) = (folder.path().join("mark"), folder.path().join("made"));
    std::fs::write(&made, "").unwrap();
    let limit = Duration::from_secs(10);
    let run = |argv: [&str; 2]| Undo::Run { argv: argv.map(str::to_owned).to_vec(), limit };
    let undos = vec![
        run(["/usr/bin/touch", mark.to_str().unwrap()]),
        Undo::EndProcesses { processes: vec![child.process()] },
        Undo::RemoveFile { path: made.clone() },
    ];
    guard.arm("a", undos, HOUR);
    guard.say(&Order::Revert { id: "a".to_owned() });
    let reverted = guard.reverted();
    assert_eq!(reverted.failures().count(), 0, "{reverted:?}");
    assert!(mark.exists() && !made.exists());
    assert!(child.0.try_wait().unwrap().is_some());

    guard.arm("b", vec![run(["/bin/sh", "/no/such/script"])], HOUR);
    guard.say(&Order::Revert { id: "b".to_owned() });
    let reverted = guard.reverted();
    let failure = reverted.failures().next().unwrap();
    assert_eq!(failure.command, "/bin/sh /no/such/script");
    assert!(failure.failure.as_ref().unwrap().contains("/no/such/script"));
}

#[test]
fn a_slow_undo_keeps_no_other_fault_waiting() {
    let (mut guard, victim) = (Guard::start(), Victim::stopped());
    let argv = ["/bin/sleep", "3"].map(str::to_owned).to_vec();
    let mut undos = victim.go_on();
    undos.insert(0, Undo::Run { argv, limit: Duration::from_secs(60) });
    guard.arm("slow", undos, HOUR);
    let other = Victim::stopped();
    guard.arm("other", other.go_on(), HOUR);
    guard.say(&Order::Revert { id: "slow".to_owned() });
    guard.say(&Order::Revert { id: "other".to_owned() });
    assert_eq!(guard.reverted().id, "other");
    assert_ne!(victim.state(), 'T', "what is local comes first");
    assert_eq!(guard.reverted().id, "slow");
}

#[test]
fn an_http_request_to_a_local_socket_is_made_again_until_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let engine = UnixListener::bind(&socket).unwrap();
    let mut guard = Guard::start();
    let request =
        Undo::HttpUnix { socket, method: "POST".to_owned(), path: "/containers/x/start".to_owned() };
    guard.arm("a", vec![request], HOUR);
    guard.say(&Order::Revert { id: "a".to_owned() });
    for status in ["500 Internal Server Error", "204 No Content"] {
        let mut line = String::new();
        let mut stream = BufReader::new(engine.accept().unwrap().0);
        stream.read_line(&mut line).unwrap();
        assert_eq!(line, "POST /containers/x/start HTTP/1.0\r\n");
        write!(stream.get_mut(), "HTTP/1.1 {status}\r\n\r\n").unwrap();
    }
    assert_eq!(guard.reverted().failures().count(), 0);
}

#[test]
fn a_cgroup_of_processes_that_keep_forking_is_ended_and_removed_on_both_versions() {
    // A machine may have no version 1 any more.
    let hierarchies = [("/sys/fs/cgroup/freezer", CgroupVersion::V1), (unified(), CgroupVersion::V2)];
    for (root, version) in hierarchies.into_iter().filter(|(root, _)| Path::new(root).exists()) {
        let cgroup = Path::new(root).join(format!("kitty-guard-test-{}", std::process::id()));
        let nested = cgroup.join("nested");
        std::fs::create_dir_all(&nested).unwrap();
        let script =
            format!("echo $$ > {}/cgroup.procs; while :; do sleep 30 & sleep 0.01; done", nested.display());
        let mut forking = Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
        let members = || std::fs::read_to_string(nested.join("cgroup.procs")).unwrap_or_default();
        eventually("it forks", || members().lines().count() > 5);
        let mut guard = Guard::start();
        let end = Undo::EndCgroup { cgroup: cgroup.clone(), version };
        guard.arm("a", vec![end, Undo::RemoveCgroup { cgroup: cgroup.clone() }], HOUR);
        guard.say(&Order::Revert { id: "a".to_owned() });
        let reverted = guard.reverted();
        forking.wait().unwrap();
        assert_eq!(reverted.failures().count(), 0, "{reverted:?}");
        assert!(!cgroup.exists(), "{version:?}");
    }
}

/// Where version 2 is mounted.
fn unified() -> &'static str {
    let alone = "/sys/fs/cgroup";
    if Path::new(alone).join("cgroup.procs").exists() { alone } else { "/sys/fs/cgroup/unified" }
}
