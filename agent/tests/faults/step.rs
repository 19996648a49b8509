//! Steps of experiments that run something.

use std::{fs, path::Path, sync::Arc, time::Duration};

use chaos_kitty::{
    Code,
    script::hash,
    v1::{
        RunStep, ScriptContent, StepResult,
        run_step::{Command, Kind, Recycle, ScriptCommand, which::Name as Which},
    },
};
use chaos_kitty_agent::{
    executor::{Executor, Settings},
    host::membership,
    stress::spawn::use_program,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::driver::{PATIENCE, Target, eventually};

const SCRIPT: &str = "#!/bin/sh\n\
    # Health check: echo pid $KITTY_TARGET_PID; exit 3\n\
    # Self healing: sleep 600 & cat /proc/self/cgroup; echo healed\n\
    # Finalize command: while :; do sleep 600 & wait; done\n";

/// An agent's executor with one target, `t`.
struct Bench {
    executor: Executor,
    target: Target,
    folder: TempDir,
}

impl Bench {
    fn start(policy: &str) -> Self {
        use_program(Path::new(env!("CARGO_BIN_EXE_kitty-agent")).to_owned());
        let target = Target::sleeper();
        let mut subject = target.subject();
        subject.target.cattle = true;
        let subject = Arc::new(subject);
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            guard: "/no/such/guard".into(),
            max_held: 1,
            policy: policy.parse().unwrap(),
            journal: folder.path().join("journal"),
            steps: folder.path().join("steps"),
            lock: None,
        };
        let (executor, _) = Executor::new(settings, Box::new(move |_| Some(subject.clone())));
        Self { executor, target, folder }
    }

    fn hand_over(&self) {
        let (hash, content) = (hash(SCRIPT.as_bytes()), SCRIPT.as_bytes().to_vec().into());
        self.executor.keep_script(ScriptContent { hash, content }).unwrap();
    }

    async fn step(&self, kind: Kind) -> StepResult {
        self.step_within(kind, PATIENCE).await
    }

    async fn step_within(&self, kind: Kind, timeout: Duration) -> StepResult {
        let (sender, mut answers) = mpsc::channel(1);
        self.executor.step(order(&uuid::Uuid::new_v4().to_string(), kind, timeout), sender);
        tokio::time::timeout(2 * PATIENCE, answers.recv()).await.unwrap().unwrap()
    }
}

fn order(id: &str, kind: Kind, timeout: Duration) -> RunStep {
    RunStep { step_id: id.to_owned(), timeout: Some(timeout.into()), kind: Some(kind), ..RunStep::default() }
}

fn command(which: Which) -> Kind {
    let hash = hash(SCRIPT.as_bytes());
    Kind::Script(ScriptCommand { hash, which: which.into(), name: "own.sh".to_owned() })
}

fn program(argv: &[&str]) -> Kind {
    Kind::Command(Command { argv: argv.iter().map(|argument| (*argument).to_owned()).collect() })
}

fn code(result: &StepResult) -> Option<Code> {
    result.problem.as_ref().and_then(|problem| Code::from_number(problem.code))
}

#[tokio::test]
async fn the_commands_of_a_header_run_on_the_target_and_nothing_of_them_is_left() {
    let bench = Bench::start("");
    assert_eq!(code(&bench.step(command(Which::HealthCheck)).await), Some(Code::NoSuchScript));
    bench.hand_over();
    let checked = bench.step(command(Which::HealthCheck)).await;
    let expected = format!("pid {}\n", bench.target.process().pid);
    assert_eq!((code(&checked), checked.exit_code, checked.output), (None, Some(3), expected));

    let healed = bench.step(command(Which::SelfHealing)).await;
    assert_eq!((code(&healed), healed.exit_code), (None, Some(0)), "{healed:?}");
    assert!(healed.output.ends_with("\nhealed\n"), "{healed:?}");
    assert!(!cgroup(&healed.output).exists(), "its daemon is ended and its cgroup removed");

    // This one does not end by itself.
    let over = bench.step_within(command(Which::Finalize), Duration::from_millis(300)).await;
    assert_eq!((code(&over), over.exit_code), (Some(Code::NoAnswer), None), "{over:?}");
}

/// The folder of the cgroup that a program says it was in.
fn cgroup(said: &str) -> std::path::PathBuf {
    let name = said.lines().find_map(|line| line.split('/').find(|part| part.starts_with("kitty-command-")));
    let own = membership::of(std::process::id()).unwrap();
    let line = said.lines().find(|line| line.contains(name.unwrap())).unwrap();
    let version_2 = line.starts_with("0::");
    let root = &own.iter().find(|one| one.controllers.is_empty() == version_2).unwrap().root;
    root.join(line.rsplit(':').next().unwrap().trim_start_matches('/'))
}

#[tokio::test]
async fn programs_of_the_host_run_only_where_the_policy_says_so_and_without_a_shell() {
    let echo = program(&["/bin/echo", "a b", "$(c)"]);
    assert_eq!(code(&Bench::start("").step(echo.clone()).await), Some(Code::PolicyForbids));
    let bench = Bench::start("allow = ['command']");
    let said = bench.step(echo).await;
    assert_eq!((said.exit_code, said.output.as_str()), (Some(0), "a b $(c)\n"));
    for argv in [&["echo"][..], &[], &["/bin/echo", "a\0b"]] {
        assert_eq!(code(&bench.step(program(argv)).await), Some(Code::InvalidArgument), "{argv:?}");
    }
    let missing = bench.step(program(&["/no/such/program"])).await;
    assert_eq!(code(&missing), Some(Code::MissingDependency));
    assert!(missing.problem.unwrap().message.contains("/no/such/program"));
    let long = bench.step(program(&["/bin/sh", "-c", "yes | head -n 20000; echo end"])).await;
    assert!(long.output.len() <= 4096 && long.output.ends_with("y\nend\n"));
    // A script's commands go with the script.
    let forbidden = bench.step(command(Which::HealthCheck)).await;
    assert_eq!(code(&forbidden), Some(Code::PolicyForbids));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_while_a_step_runs_is_answered_at_its_end() {
    let bench = Bench::start("allow = ['command']");
    let count = bench.folder.path().join("count");
    let text = format!("echo begun >>{0}; while [ ! -e {0}.go ]; do sleep 0.01; done", count.display());
    let order = order("e/probe/1", program(&["/bin/sh", "-c", &text]), PATIENCE);
    let (sender, mut answers) = mpsc::channel(2);
    bench.executor.step(order.clone(), sender.clone());
    eventually("it was begun", || count.exists());
    bench.executor.step(order, sender);
    fs::write(bench.folder.path().join("count.go"), "").unwrap();
    let (first, second) = (answers.recv().await.unwrap(), answers.recv().await.unwrap());
    assert_eq!((first.exit_code, &first), (Some(0), &second));
    assert_eq!(fs::read_to_string(&count).unwrap(), "begun\n");
}

#[tokio::test]
async fn without_room_to_write_it_down_only_a_health_check_is_run() {
    let bench = Bench::start("");
    bench.hand_over();
    fs::create_dir(bench.folder.path().join("steps")).unwrap();
    assert_eq!(code(&bench.step(Kind::Recycle(Recycle {})).await), Some(Code::JournalUnavailable));
    assert!(!bench.target.process().has_ended());
    assert_eq!(bench.step(command(Which::HealthCheck)).await.exit_code, Some(3));
}
