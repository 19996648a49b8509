use std::{path::PathBuf, process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{self, ScriptResult, action::Kind, action_result},
};
use chaos_kitty_agent::host::process::tree;
use chaos_kitty_guard::{CgroupVersion, Process, Undo};
use rustix::process::Signal;
use uuid::Uuid;

use crate::{
    cgroup::Cgroup,
    driver::{self, Held, Target, action, eventually, host, start, subject},
};

fn script(content: &str, arguments: &[&str]) -> v1::Action {
    action(Kind::Script(driver::script(content, arguments)), Duration::from_secs(60))
}

fn figures(kind: action_result::Kind) -> ScriptResult {
    match kind {
        action_result::Kind::Script(figures) => figures,
        other => panic!("{other:?}"),
    }
}

fn cgroup(held: &Held) -> PathBuf {
    let found = held.undos.iter().find_map(|undo| match undo {
        Undo::EndCgroup { cgroup, .. } => Some(cgroup.clone()),
        _ => None,
    });
    found.unwrap()
}

fn members(held: &Held) -> Vec<Process> {
    let procs = std::fs::read_to_string(cgroup(held).join("cgroup.procs")).unwrap();
    procs.lines().filter_map(|pid| Process::now(pid.parse().unwrap())).collect()
}

#[tokio::test]
async fn a_script_that_exits_gives_its_code_and_output() {
    let target = Target::sleeper();
    let text = "#!/bin/sh\necho \"target $KITTY_TARGET_PID, $1 and $2\"; echo oops >&2; exit 3\n";
    let mut held = start(&script(text, &["a b", "$(c)"]), &target.subject()).await.unwrap();
    held.fault.over().await.unwrap();
    let folder = cgroup(&held);
    let done = figures(held.revert().await);
    assert_eq!(done.exit_code, Some(3));
    assert_eq!(done.output, format!("target {}, a b and $(c)\noops\n", target.0.id()));
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_ended_with_all_that_it_began() {
    let target = Target::sleeper();
    // Children, and daemons that no parent knows any more.
    let text = "#!/bin/sh\nfor i in 1 2 3; do sleep 600 & (setsid sleep 600 &) ; done\necho ready\nwait\n";
    let held = start(&script(text, &[]), &target.subject()).await.unwrap();
    eventually("all of it runs", || figures(held.figures()).output == "ready\n");
    let all = members(&held);
    assert!(all.len() >= 8, "{all:?}");
    let folder = cgroup(&held);
    let done = figures(held.revert().await);
    assert!(all.iter().all(Process::has_ended));
    assert!(!folder.exists());
    assert_eq!((done.exit_code, done.output.as_str()), (None, "ready\n"));
    assert!(!target.process().has_ended());
}

/// Processes with this in their command line, whatever cgroup they are in and whoever is their parent.
fn marked(mark: &str) -> usize {
    let commands = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = commands.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands.filter(|command| String::from_utf8_lossy(command).contains(mark)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_fork_bomb_nothing_is_left() {
    let cgroup = Cgroup::with("pids");
    cgroup.set(("pids.max", "300"), ("pids.max", "300"));
    let target = Target::sleeper();
    cgroup.add(target.0.id());
    let mark = format!("bomb-{}", Uuid::new_v4());
    // Unlike others, bash tries again when it can not fork.
    let text = "#!/bin/bash\nexec 2>/dev/null\nbomb() { bomb | bomb & }\nbomb\nwait\nsleep 600\n";
    let held = start(&script(text, &[&mark]), &target.subject()).await.unwrap();
    eventually("it has gone off", || marked(&mark) > 100);
    let folder = self::cgroup(&held);
    held.revert().await;
    assert_eq!(marked(&mark), 0);
    assert!(!folder.exists() && !target.process().has_ended());
    drop(target);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_daemons_that_outlive_their_script_nothing_is_left() {
    let mark = format!("daemon-{}", Uuid::new_v4());
    let daemon =
        "(setsid sh -c 'trap \"\" TERM HUP; (setsid sh -c \"sleep 600\" \"$0\" &); sleep 600' \"$1\" &)";
    let text = format!("#!/bin/sh\n{daemon}\nexit 0\n");
    let mut held = start(&script(&text, &[&mark]), &host()).await.unwrap();
    held.fault.over().await.unwrap();
    eventually("the daemons have left their script", || marked(&mark) == 2);
    let done = figures(held.revert().await);
    assert_eq!((marked(&mark), done.exit_code), (0, Some(0)));
}

#[tokio::test]
async fn a_script_that_somebody_kills_broke_off() {
    let mut held = start(&script("#!/bin/sh\nkill -KILL $$\n", &[]), &host()).await.unwrap();
    let problem = held.fault.over().await.unwrap_err();
    assert_eq!(problem.code, Code::BrokeOff);
    assert!(problem.message.contains("signal 9"), "{problem}");

    let mut held = start(&script("#!/bin/sh\nsleep 600\n", &[]), &host()).await.unwrap();
    let runner = members(&held).into_iter().find(|process| name(*process) == "kitty-stress").unwrap();
    runner.signal(Signal::KILL).unwrap();
    assert_eq!(held.fault.over().await.unwrap_err().code, Code::BrokeOff);
}

/// These tests once more, in a mount namespace without version 2.
#[test]
fn all_of_it_holds_where_there_is_only_version_1() {
    if !unified_is_mounted() {
        return; // this is that namespace
    }
    let without = "umount --all --types cgroup2 && exec \"$0\" script:: together::what";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", without])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn unified_is_mounted() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 ")
}

#[tokio::test]
async fn a_script_has_a_cgroup_of_the_newest_version_there_is() {
    let held = start(&script("#!/bin/sh\nsleep 600\n", &[]), &host()).await.unwrap();
    let version = held.undos.iter().find_map(|undo| match undo {
        Undo::EndCgroup { version, .. } => Some(*version),
        _ => None,
    });
    let newest = if unified_is_mounted() { CgroupVersion::V2 } else { CgroupVersion::V1 };
    assert_eq!(version, Some(newest));
}

#[tokio::test]
async fn a_script_that_forks_without_end_is_ended() {
    let text = "#!/bin/sh\nwhile :; do sleep 0.02 & (setsid sleep 0.02 &); done\n";
    let held = start(&script(text, &[]), &host()).await.unwrap();
    eventually("it forks", || members(&held).len() >= 10);
    let folder = cgroup(&held);
    held.revert().await;
    assert!(!folder.exists(), "a cgroup with processes in it can not be removed");
}

#[tokio::test]
async fn a_script_runs_inside_the_targets_namespaces() {
    let inner = "hostname kitty-inner && exec sleep 600";
    let outside = Target::start(Command::new("unshare").args([
        "--uts",
        "--pid",
        "--mount",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        inner,
    ]));
    let main = || tree(outside.process()).into_iter().find(|process| name(*process) == "sleep");
    eventually("the target sleeps in its namespaces", || main().is_some());
    let text = "#!/bin/sh\nhostname; cat /proc/1/comm\n";
    let mut held = start(&script(text, &[]), &subject(main().unwrap())).await.unwrap();
    held.fault.over().await.unwrap();
    let done = figures(held.revert().await);
    assert_eq!((done.exit_code, done.output.as_str()), (Some(0), "kitty-inner\nsleep\n"));
}

fn name(process: Process) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn an_interpreter_that_is_not_there_is_named() {
    for text in ["#!/no/such/interpreter\n", "echo no first line\n"] {
        let refused = start(&script(text, &[]), &host()).await.err().unwrap();
        assert_eq!(refused.code, Code::MissingDependency, "{refused}");
    }
    let refused = start(&script("#!/no/such/interpreter\n", &[]), &host()).await.err().unwrap();
    assert!(refused.message.contains("/no/such/interpreter"), "{refused}");
}

#[tokio::test]
async fn only_the_end_of_a_long_output_is_kept() {
    let text = "#!/bin/sh\ni=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done\n";
    let mut held = start(&script(text, &[]), &host()).await.unwrap();
    held.fault.over().await.unwrap();
    let done = figures(held.revert().await);
    assert!(done.output.len() <= 4096 && done.output.ends_with("line 19999\n"));
}
