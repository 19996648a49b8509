use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    v1::{self, ScriptResult, action::Kind, action_result},
};
use chaos_kitty_agent::{host::process::tree, platform::Subject};
use chaos_kitty_guard::{CgroupVersion, Process, Undo};
use rustix::process::Signal;
use uuid::Uuid;

use crate::{
    cgroup::Cgroup,
    driver::{self, Target, action, cgroup, eventually, host, members, prepare, start, subject},
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

#[tokio::test]
async fn a_script_that_exits_gives_its_code_and_output() {
    let target = Target::sleeper();
    let text = "#!/bin/sh\necho \"target $KITTY_TARGET_PID, $1 and $2\"; echo oops >&2; exit 0\n";
    let mut held = start(&script(text, &["a b", "$(c)"]), &target.subject()).await.unwrap();
    held.fault.over().await.unwrap();
    let folder = cgroup(&held);
    let done = figures(held.revert().await);
    assert_eq!(done.exit_code, Some(0));
    assert_eq!(done.output, format!("target {}, a b and $(c)\noops\n", target.0.id()));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_script_that_fails_at_once_says_why() {
    let target = Target::sleeper();
    let text = "#!/bin/sh\necho \"no such device\" >&2\nexit 137\n";
    let failed = failure(&script(text, &[]), &target.subject()).await;
    assert_eq!(failed.code, Code::ScriptFailed);
    assert!(failed.message.contains("exited with 137"), "{failed}");
    assert!(failed.message.ends_with("no such device"), "{failed}");
}

/// Of a script that fails, in its first moment or, on a busy machine, a little later.
pub(crate) async fn failure(script: &v1::Action, subject: &Subject) -> Problem {
    match start(script, subject).await {
        Err(failed) => failed,
        Ok(mut held) => held.fault.over().await.unwrap_err(),
    }
}

#[tokio::test]
async fn a_script_that_fails_later_broke_off_with_its_code_and_output() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let text = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.02; done\necho \"$(seq 2000) it is full\"\nexit 4\n",
        go.display()
    );
    let mut held = start(&script(&text, &[]), &host()).await.unwrap();
    std::fs::write(go, "").unwrap();
    let failed = held.fault.over().await.unwrap_err();
    assert_eq!(failed.code, Code::ScriptFailed);
    assert!(failed.message.contains("exited with 4") && failed.message.ends_with("it is full"), "{failed}");
    assert!(failed.message.len() < 500, "{failed}");
    assert_eq!(figures(held.revert().await).exit_code, Some(4));
}

#[tokio::test]
async fn a_script_that_dies_of_the_end_of_its_own_target_took_effect() {
    let target = Target::sleeper();
    let text = "#!/bin/sh\nkill -KILL $KITTY_TARGET_PID\nexit 137\n";
    let mut held = start(&script(text, &[]), &target.subject()).await.unwrap();
    assert!(target.process().has_ended());
    // What came of it the executor makes of both ends.
    assert_eq!(held.fault.over().await.unwrap_err().code, Code::ScriptFailed);
    held.revert().await;
}

#[tokio::test]
async fn a_script_that_is_stopped_before_its_injection_leaves_nothing_and_is_not_stuck() {
    let target = Target::sleeper();
    let held = prepare(&script("#!/bin/sh\nsleep 600\n", &[]), &target.subject()).await.unwrap();
    let folder = cgroup(&held);
    figures(held.revert().await);
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
    let folder = driver::cgroup(&held);
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
    let problem = failure(&script("#!/bin/sh\nkill -KILL $$\n", &[]), &host()).await;
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
    let main = || tree(outside.process()).unwrap().into_iter().find(|process| name(*process) == "sleep");
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

/// A script that notes in a file what runs, and in which order.
fn noting(file: &Path, header: &str) -> v1::Action {
    let note = |what: &str| format!("echo {what} $KITTY_TARGET >>{}", file.display());
    let header = header.replace("HEAL", &note("healed")).replace("FINALIZE", &note("finalized"));
    let text = format!("#!/bin/sh\n{header}{}\nexec sleep 600\n", note("begun"));
    action(Kind::Script(driver::script_as_it_is(&text, &[])), Duration::from_secs(60))
}

const REMEDIES: &str = "# Health check: true\n# Self healing: HEAL\n# Finalize command: FINALIZE\n";

fn notes(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_put_back_by_its_cgroups_end_then_by_its_self_healing_then_by_its_finalize_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    let target = Target::sleeper();
    let held = start(&noting(&file, REMEDIES), &target.subject()).await.unwrap();
    eventually("it runs", || notes(&file) == ["begun"]);
    let kinds: Vec<_> = held.undos.iter().map(|undo| (undo.is_local(), undo.outlives_a_boot())).collect();
    assert_eq!(kinds, [(true, false), (true, false), (false, true), (false, true)]);
    assert!(matches!(held.undos[0], Undo::EndCgroup { .. }));
    held.revert().await;
    // Whatever is put back twice stays put back: this harness does it again.
    assert_eq!(notes(&file)[..3], ["begun", "healed", "finalized"]);
    assert!(!target.process().has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_put_back_in_the_targets_namespaces_also_when_the_target_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    // The mounts of the target: nobody else sees the file. A second process keeps them when the first has ended.
    let setup = format!("mount -t tmpfs kitty {} && exec sleep 600", folder.path().display());
    let target = Target::start(Command::new("unshare").args(["--mount", "sh", "-c", &setup]));
    let pid = target.0.id().to_string();
    eventually("the target sleeps", || name(target.process()) == "sleep");
    let other = Target::start(Command::new("nsenter").args(["--target", &pid, "--mount", "sleep", "600"]));
    let file_inside = PathBuf::from(format!("/proc/{}/root{}", other.0.id(), file.display()));
    let held = start(&noting(&file, REMEDIES), &target.subject()).await.unwrap();
    eventually("it runs", || notes(&file_inside) == ["begun"]);
    drop(target);
    held.revert().await;
    assert_eq!(notes(&file_inside)[..3], ["begun", "healed", "finalized"]);
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_gone_with_its_namespaces_counts_as_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    let target = Target::start(Command::new("unshare").args(["--mount", "sleep", "600"]));
    eventually("the target sleeps", || name(target.process()) == "sleep");
    let held = start(&noting(&file, REMEDIES), &target.subject()).await.unwrap();
    eventually("it runs", || notes(&file) == ["begun"]);
    drop(target);
    held.revert().await;
    assert_eq!(notes(&file), ["begun"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_self_healing_a_script_runs_on_cattle_only_and_is_put_back_by_a_successor() {
    let folder = tempfile::tempdir().unwrap();
    let script = noting(&folder.path().join("notes"), "# Finalize command: FINALIZE\n");
    let target = Target::sleeper();
    let mut subject = target.subject();
    for pet in [&subject, &host()] {
        let refused = start(&script, pet).await.err().unwrap();
        assert!(refused.code == Code::NotCattle && refused.message.contains(&pet.target.id), "{refused}");
    }
    subject.target.cattle = true;
    let held = start(&script, &subject).await.unwrap();
    held.revert().await;
    assert!(target.process().has_ended());
    assert_eq!(notes(&folder.path().join("notes")).last().unwrap(), "finalized");
}

#[tokio::test]
async fn programs_that_a_script_needs_and_that_are_not_there_are_all_named() {
    let text = "#!/bin/sh\n# Dependencies: sleep, kitty-no-such, kitty-neither\nexit 0\n";
    let script = action(Kind::Script(driver::script(text, &[])), Duration::from_secs(60));
    let mut fault = driver::fault(&script, &host()).unwrap();
    let refused = fault.prepare().await.unwrap_err();
    assert_eq!(refused.code, Code::MissingDependency);
    assert!(refused.message.contains("kitty-no-such, kitty-neither"), "{refused}");
    assert_eq!(figures(fault.figures().unwrap()).missing, ["kitty-no-such", "kitty-neither"]);
}

#[tokio::test]
async fn a_script_that_was_not_handed_over_is_refused() {
    let order = v1::RunScript { name: "unknown.sh".to_owned(), hash: "0".repeat(64), ..Default::default() };
    let unknown = start(&action(Kind::Script(order), Duration::from_secs(60)), &host()).await.err().unwrap();
    assert!(unknown.code == Code::NoSuchScript && unknown.message.contains("unknown.sh"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_has_a_folder_of_its_own_that_nobody_can_guess() {
    let target = Target::sleeper();
    let text = "#!/bin/sh\nstat -c '%a %u %n' \"$KITTY_TMP\"; echo full >\"$KITTY_TMP/file\"; echo done; sleep 600\n";
    let mut seen = Vec::new();
    for _ in 0..2 {
        let held = start(&script(text, &[]), &target.subject()).await.unwrap();
        let output = || figures(held.figures()).output;
        eventually("it has written", || output().contains("done"));
        let line = output().lines().next().unwrap().to_owned();
        let path = line.strip_prefix("700 0 ").unwrap().to_owned();
        assert!(path.starts_with("/var/tmp/kitty-") || path.starts_with("/tmp/kitty-"), "{path}");
        assert!(Path::new(&path).join("file").exists());
        held.revert().await;
        assert!(!Path::new(&path).exists());
        seen.push(path);
    }
    assert_ne!(seen[0], seen[1]);
}
