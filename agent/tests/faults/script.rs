use std::{path::PathBuf, process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{self, ScriptResult, action::Kind, action_result},
};
use chaos_kitty_agent::host::process::tree;
use chaos_kitty_guard::{Process, Undo};

use crate::driver::{Held, Target, action, eventually, host, start, subject};

fn script(content: &str, arguments: &[&str]) -> v1::Action {
    let order = v1::RunScript {
        name: "test.sh".into(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        content: content.as_bytes().to_vec().into(),
    };
    action(Kind::Script(order), Duration::from_secs(60))
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
    held.fault.over().await;
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
    held.fault.over().await;
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
    held.fault.over().await;
    let done = figures(held.revert().await);
    assert!(done.output.len() <= 4096 && done.output.ends_with("line 19999\n"));
}
