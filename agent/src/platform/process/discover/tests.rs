use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::platform::{
    Roster,
    process::rules::{RuleSettings, compile},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn process(pid: u32, parent: u32, name: &str) -> Candidate {
    let exe = Some(format!("/bin/{name}").into());
    Candidate {
        pid,
        parent,
        start_time: 10 * u64::from(pid),
        state: 'S',
        name: name.into(),
        exe,
        ..Candidate::default()
    }
}

fn snapshot(processes: &[Candidate]) -> HashMap<u32, Candidate> {
    processes.iter().map(|process| (process.pid, process.clone())).collect()
}

fn rules(names: &[&str]) -> Vec<Rule> {
    compile(&names.iter().map(|name| RuleSettings::named(name)).collect::<Vec<_>>()).unwrap()
}

fn found(processes: &[Candidate], names: &[&str], own: &[u32]) -> Vec<(usize, Vec<u32>)> {
    let own = own.iter().copied().collect();
    let matches = match_rules(&snapshot(processes), &rules(names), &vec![None; names.len()], &own);
    matches.into_iter().map(|one| (one.rule, one.pids)).collect()
}

#[test]
fn a_master_with_its_workers_is_one_target() {
    let processes = [
        process(1, 0, "init"),
        process(9, 1, "nginx"),
        process(4, 9, "nginx"),
        process(5, 4, "helper"),
        process(20, 1, "nginx"),
    ];
    assert_eq!(found(&processes, &["nginx"], &[]), [(0, vec![9, 4, 5]), (0, vec![20])]);
}

#[test]
fn the_first_rule_that_matches_has_the_process() {
    let processes = [process(1, 0, "init"), process(2, 1, "a"), process(3, 2, "b")];
    let also_b = RuleSettings { name: "late".into(), exe: Some("/bin/b".into()), ..Default::default() };
    let rules = compile(&[RuleSettings::named("b"), RuleSettings::named("a"), also_b]).unwrap();
    let matches = match_rules(&snapshot(&processes), &rules, &[None; 3], &HashSet::new());
    let found: Vec<_> = matches.into_iter().map(|one| (one.rule, one.pids)).collect();
    assert_eq!(found, [(0, vec![3]), (1, vec![2, 3])]);
}

#[test]
fn the_kitty_its_ancestors_init_kernel_threads_and_zombies_are_no_targets() {
    let mut processes = vec![process(1, 0, "x"), process(2, 1, "x"), process(3, 2, "x"), process(4, 1, "x")];
    processes.push(Candidate { exe: None, ..process(5, 1, "x") });
    processes.push(Candidate { state: 'Z', ..process(6, 1, "x") });
    processes.push(process(7, 4, "x"));
    assert_eq!(found(&processes, &["x"], &[3]), [(0, vec![4, 7])]);
}

#[test]
fn a_name_that_is_captured_twice_gets_the_pid() {
    let mut settings = RuleSettings::named("x");
    settings.target_name = Some("--name=(.*)".into());
    let rules = compile(&[settings]).unwrap();
    let with_line = |pid, line: &str| Candidate { command_line: line.into(), ..process(pid, 1, "x") };
    let all = snapshot(&[with_line(2, "--name=a"), with_line(3, "--name=b"), with_line(4, "--name=b")]);
    let owner = Owner { agent_id: "web-1".into(), host: "web-1".into(), labels: Default::default() };
    let matches = match_rules(&all, &rules, &[None], &HashSet::new());
    let targets: Vec<_> = subjects(&owner, &rules, &all, &matches).into_iter().map(|s| s.target).collect();
    let ids: Vec<_> = targets.iter().map(|target| target.id.as_str()).collect();
    assert_eq!(ids, ["process/web-1/a", "process/web-1/b:3", "process/web-1/b:4"]);
    assert_eq!((targets[0].incarnation.as_str(), targets[0].aggregation_identifier.as_str()), ("2:20", "x"));
}

#[test]
fn the_pause_grows_with_the_processes() {
    assert_eq!(pause(10), Duration::from_secs(1));
    assert_eq!(pause(4500), Duration::from_secs(5));
}

/// Any forest, with recycled pids closing circles now and then.
fn any_processes() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (2u32..40, 0u32..40, prop::sample::select(vec!["a", "b", "c"]));
    prop::collection::vec(one.prop_map(|(pid, parent, name)| process(pid, parent, name)), 0..40)
}

proptest! {
    #[test]
    fn every_matching_process_is_in_a_target_and_no_main_is_below_one_of_its_rule(processes in any_processes()) {
        let all = snapshot(&processes);
        let names = ["a", "b"];
        let matches = match_rules(&all, &rules(&names), &[None, None], &HashSet::new());
        let mains: HashMap<u32, usize> = matches.iter().map(|one| (one.pids[0], one.rule)).collect();
        prop_assert_eq!(mains.len(), matches.len(), "a process is the main of one target at most");
        for one in &matches {
            prop_assert_eq!(&*all[&one.pids[0]].name, names[one.rule].as_bytes());
            let above: Vec<u32> = ancestors(&all, one.pids[0]).collect();
            prop_assert!(above.iter().all(|pid| all.get(pid).is_none_or(|p| p.name != names[one.rule].as_bytes())));
            prop_assert!(one.pids[1..].iter().all(|&pid| ancestors(&all, pid).any(|up| up == one.pids[0])));
        }
        let in_circle = |pid: u32| ancestors(&all, pid).any(|above| above == pid);
        for process in all.values().filter(|p| names.iter().any(|name| p.name == name.as_bytes())) {
            let circular = in_circle(process.pid) || ancestors(&all, process.pid).any(in_circle);
            prop_assert!(circular || matches.iter().any(|one| one.pids.contains(&process.pid)));
        }
    }

    #[test]
    fn own_processes_are_in_no_target(processes in any_processes(), own in prop::collection::hash_set(2u32..40, 0..8)) {
        let all = snapshot(&processes);
        for one in match_rules(&all, &rules(&["a", "b", "c"]), &[None; 3], &own) {
            prop_assert!(one.pids.iter().all(|pid| !own.contains(pid)));
        }
    }
}

/// A program of a name that no other test uses.
fn program(folder: &Path) -> PathBuf {
    let program = folder.join("lone-sleeper");
    fs::copy("/bin/sleep", &program).unwrap();
    program
}

/// A process that is no child of this one, for those count as the kitty's own.
struct Orphan(u32);

impl Orphan {
    fn start(program: &Path) -> Self {
        let script = "\"$0\" 600 >/dev/null 2>&1 & echo $!";
        let shell = Command::new("/bin/sh").args(["-c", script]).arg(program).output().unwrap();
        Self(String::from_utf8(shell.stdout).unwrap().trim().parse().unwrap())
    }
}

impl Orphan {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0 as i32).unwrap(), signal).unwrap();
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A watch for processes of this program, and its roster.
fn watch(program: &Path, events: Option<Events>) -> (Watch, tokio::sync::watch::Receiver<Roster>) {
    let mut settings = RuleSettings { name: "lone".into(), ..Default::default() };
    settings.exe = Some(program.to_str().unwrap().to_owned());
    let (roster, shown) = tokio::sync::watch::channel(Roster::default());
    let watch = Watch {
        owner: Owner { agent_id: "a".into(), host: "h".into(), labels: Default::default() },
        rules: compile(&[settings]).unwrap().into(),
        publisher: Publisher { platform_type: ProcessPlatform::TYPE, roster: roster.into() },
        events,
        ends: JoinSet::new(),
        watched: HashSet::new(),
    };
    (watch, shown)
}

async fn a_process_comes_and_goes(with_events: bool) {
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path());
    let (watch, mut roster) = watch(&program, with_events.then(|| Events::subscribe().unwrap()));
    let mut watching = JoinSet::new();
    watching.spawn(watch.run());
    let orphan = Orphan::start(&program);
    let pid = orphan.0;
    let there = roster.wait_for(|roster| roster.get(&format!("process/a/lone:{pid}")).is_some());
    let found = tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap().clone();
    assert_eq!(found.all().next().unwrap().subject().main.unwrap().pid, pid);

    orphan.signal(Signal::STOP);
    let unwell = v1::target_health::State::Unknown as i32;
    let stopped = roster.wait_for(|roster| roster.all().any(|one| one.target().health == unwell));
    tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();

    drop(orphan);
    let gone = roster.wait_for(|roster| roster.all().next().is_none());
    tokio::time::timeout(PATIENCE, gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn processes_come_and_go_by_word_of_the_kernel() {
    a_process_comes_and_goes(true).await;
}

#[tokio::test]
async fn processes_come_and_go_at_intervals() {
    a_process_comes_and_goes(false).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_told_is_not_forgotten_while_the_next_look_is_awaited() {
    let events = Events::subscribe().unwrap();
    Command::new("true").status().unwrap();
    let (mut watch, _roster) = watch(Path::new("/bin/true"), Some(events));
    let began = Instant::now();
    let (earliest, latest) = (began + 10 * HEALTH_EVERY, began + 1000 * HEALTH_EVERY);
    watch.wait(earliest, latest, Vec::new()).await;
    assert!(began.elapsed() < 11 * HEALTH_EVERY, "looked only after {:?}", began.elapsed());
}
