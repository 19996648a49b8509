//! Scripts from a user's folder, put back whoever dies; and steps of experiments, on a real agent.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    endpoint::Endpoint,
    script::hash,
    v1::{
        self, RunScript, StepResult, Target,
        action::Kind,
        action_state::Name as State,
        run_step::{self, which::Name as Which},
        target_health,
    },
};
use chaos_kitty_server::{
    api::{self, guard::AllowedHosts},
    app::{App, Settings},
    listen::{self, Listeners},
    store::Store,
};
use chaos_kitty_tests::{
    Sandbox, Server, eventually,
    process::{Process, is_alive, wait_for},
};
use tokio_util::sync::CancellationToken;

/// A folder with a script that notes what runs of it, and in which order.
fn folder(sandbox: &Sandbox) -> (PathBuf, PathBuf) {
    let (folder, notes) = (sandbox.path().join("scripts"), sandbox.path().join("notes"));
    fs::create_dir(&folder).unwrap();
    let note = |what: &str| format!("echo {what} $KITTY_TARGET_PID >>{}", notes.display());
    let text = format!(
        "#!/bin/sh\n# Health check: test -n \"$KITTY_TARGET_PID\" && echo well\n# Self healing: {}\n\
         # Finalize command: {}\n{}\nexec sleep 600\n",
        note("healed"),
        note("finalized"),
        note("begun")
    );
    fs::write(folder.join("own.sh"), text).unwrap();
    (folder, notes)
}

fn sleeper(sandbox: &Sandbox, name: &str) -> Process {
    let program = sandbox.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    Process::start(name, command, sandbox.path())
}

async fn begun(server: &Server, target: &str, notes: &Path) -> String {
    let script = RunScript { name: "own.sh".to_owned(), ..RunScript::default() };
    let action =
        v1::Action { duration: Some(Duration::from_secs(60).into()), kind: Some(Kind::Script(script)) };
    let choice = v1::unleash_request::Choice::Target(target.to_owned());
    let request =
        v1::UnleashRequest { action: Some(action), choice: Some(choice), ..v1::UnleashRequest::default() };
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    loop {
        let status = updates.message().await.unwrap().expect("it starts");
        if status.state() == State::Started {
            wait_for("the script runs", || {
                fs::read_to_string(notes).is_ok_and(|text| text.contains("begun"))
            });
            return status.id;
        }
        assert!(status.problem.is_none(), "{status:?}");
    }
}

fn expected(pid: u32) -> String {
    format!("begun {pid}\nhealed {pid}\nfinalized {pid}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_ones_own_is_put_back_by_its_own_commands_when_it_is_stopped() {
    let sandbox = Sandbox::new();
    let (folder, notes) = folder(&sandbox);
    let server = sandbox.server(&["--scripts-dir", folder.to_str().unwrap()]).await;
    let _agent = sandbox.agent(&server, "host-1", &["--process", "kitty-own"]).await;
    let sleeper = sleeper(&sandbox, "kitty-own");
    let target = server.target(&format!("kitty-own:{}", sleeper.pid())).await;
    // What the folder holds later is another matter.
    fs::write(folder.join("own.sh"), "#!/bin/sh\n").unwrap();
    let id = begun(&server, &target.id, &notes).await;
    let stopped = server.client().await.stop_action(v1::StopActionRequest { id }).await.unwrap().into_inner();
    assert_eq!(stopped.state(), State::Reverted, "{stopped:?}");
    assert_eq!(fs::read_to_string(&notes).unwrap(), expected(sleeper.pid()));
    assert!(is_alive(sleeper.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_put_back_by_its_own_commands_when_the_agent_is_killed() {
    let sandbox = Sandbox::new();
    let (folder, notes) = folder(&sandbox);
    let server = sandbox.server(&["--scripts-dir", folder.to_str().unwrap()]).await;
    let mut agent = sandbox.agent(&server, "host-1", &["--process", "kitty-own2"]).await;
    let sleeper = sleeper(&sandbox, "kitty-own2");
    let target = server.target(&format!("kitty-own2:{}", sleeper.pid())).await;
    begun(&server, &target.id, &notes).await;
    agent.process.kill();
    wait_for("the guard has put it back", || fs::read_to_string(&notes).unwrap() == expected(sleeper.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_is_put_back_by_its_own_commands_when_agent_and_guard_are_killed() {
    let sandbox = Sandbox::new();
    let (folder, notes) = folder(&sandbox);
    let server = sandbox.server(&["--scripts-dir", folder.to_str().unwrap()]).await;
    let mut agent = sandbox.agent(&server, "host-1", &["--process", "kitty-own3"]).await;
    let sleeper = sleeper(&sandbox, "kitty-own3");
    let target = server.target(&format!("kitty-own3:{}", sleeper.pid())).await;
    begun(&server, &target.id, &notes).await;
    agent.kill_with_guard();
    assert_eq!(fs::read_to_string(&notes).unwrap(), format!("begun {}\n", sleeper.pid()));
    let _next = sandbox.agent(&server, "host-1", &["--process", "kitty-own3"]).await;
    wait_for("the next agent has put it back", || {
        fs::read_to_string(&notes).unwrap() == expected(sleeper.pid())
    });
}

#[test]
fn a_folder_with_mistakes_is_refused_at_the_start_with_all_of_them() {
    let sandbox = Sandbox::new();
    let (folder, _) = folder(&sandbox);
    fs::write(folder.join("half.sh"), "#!/bin/sh\n# Description: x\n# Self healing: true\n").unwrap();
    fs::write(folder.join("dangling.sh"), "").unwrap();
    fs::remove_file(folder.join("dangling.sh")).unwrap();
    std::os::unix::fs::symlink("/no/such/script", folder.join("dangling.sh")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command("kittyd");
    command.args(["--listen", "unix:x.ipc", "--scripts-dir"]).arg(&folder);
    let ended = sandbox.finish(command);
    assert_eq!(ended.code, 1, "{ended}");
    for part in ["15901", "half.sh, line 3", "dangling.sh"] {
        assert!(ended.stderr.contains(part), "{part} in {ended}");
    }
}

/// A server in this process: no call runs a single step.
struct Own {
    app: App,
    socket: Endpoint,
    stop: CancellationToken,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Own {
    async fn start(sandbox: &Sandbox, scripts_dir: Option<PathBuf>) -> Self {
        let socket = Endpoint::Unix(sandbox.path().join("own.ipc"));
        let listen = listen::Settings { endpoints: vec![socket.clone()], ..Default::default() };
        let listeners = Listeners::bind(&listen).await.unwrap();
        let settings = Settings { scripts_dir, ..Settings::default() };
        let app = App::start(settings, Store::in_memory().unwrap()).await.unwrap();
        let hosts = AllowedHosts::from_iter(Vec::new());
        let router =
            api::router(app.service(), hosts, &Default::default(), &Default::default()).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(listeners.serve(router, stop.clone(), Duration::from_secs(1)));
        Self { app, socket, stop }
    }

    /// An agent whose targets are processes of this name, supervised ones, and which may run commands.
    fn agent(&self, sandbox: &Sandbox, rule: &str) -> Process {
        let config = sandbox.path().join("agent.toml");
        let policy = sandbox.path().join("policy.toml");
        fs::write(&config, format!("[[process]]\nname = '{rule}'\nprocess = '{rule}'\ncattle = true\n"))
            .unwrap();
        fs::write(&policy, "allow = ['script', 'kill', 'command']\n").unwrap();
        let mut command = sandbox.command("kitty-agent");
        command.args(["--server", &self.socket.to_string(), "--name", "host-1", "--state", "state"]);
        command.arg("--config").arg(config).arg("--policy").arg(policy);
        Process::start("kitty-agent", command, sandbox.path())
    }

    /// The one target, once it is another than that.
    async fn target(&self, other_than: &str) -> Arc<Target> {
        eventually("a target", async || {
            let all = self.app.service().fleet.roster(&v1::Selector::default()).unwrap();
            all.into_iter().find(|target| target.incarnation != other_than)
        })
        .await
    }

    async fn step(&self, target: &Target, id: &str, kind: run_step::Kind) -> Result<StepResult, Problem> {
        let fleet = self.app.service().fleet.clone();
        fleet.step(target, id.to_owned(), kind, Duration::from_secs(60)).await
    }
}

fn recycle() -> run_step::Kind {
    run_step::Kind::Recycle(run_step::Recycle {})
}

/// A service under supervision: a shell that starts it again, and that it ends with.
fn supervised(sandbox: &Sandbox, name: &str) -> Process {
    let program = sandbox.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("while :; do setpriv --pdeathsig KILL {} 600; done", program.display())]);
    Process::start("supervisor", command, sandbox.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recycled_process_is_succeeded_by_another_target_of_its_group() {
    let sandbox = Sandbox::new();
    let server = Own::start(&sandbox, None).await;
    let _agent = server.agent(&sandbox, "kitty-super");
    let _supervisor = supervised(&sandbox, "kitty-super");
    let first = server.target("").await;
    assert!(first.cattle);
    let result = server.step(&first, "e/recycle/1", recycle()).await.unwrap();
    assert_eq!(result.problem, None);
    let second = server.target(&first.incarnation).await;
    assert_ne!(first.id, second.id);
    assert_eq!(first.aggregation_identifier, second.aggregation_identifier);
    assert_eq!(second.health(), target_health::State::Normal);
    // Asked again by the same id, the answer is that of the first time, and nothing happens to the successor.
    let whichever = Target { incarnation: String::new(), ..(*second).clone() };
    assert_eq!(server.step(&whichever, "e/recycle/1", recycle()).await.unwrap(), result);
    assert!(is_alive(second.pids[0]));
    let gone = server.step(&first, "e/recycle/2", recycle()).await.unwrap_err();
    assert_eq!(gone.code, Code::TargetGone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_script_run_by_steps() {
    let sandbox = Sandbox::new();
    let (folder, notes) = folder(&sandbox);
    let hash = hash(&fs::read(folder.join("own.sh")).unwrap());
    let server = Own::start(&sandbox, Some(folder)).await;
    let _agent = server.agent(&sandbox, "kitty-cmd");
    let sleeper = sleeper(&sandbox, "kitty-cmd");
    let target = server.target("").await;
    let command = |which: Which| {
        let name = "own.sh".to_owned();
        run_step::Kind::Script(run_step::ScriptCommand { hash: hash.clone(), which: which.into(), name })
    };
    let checked = server.step(&target, "e/check/1", command(Which::HealthCheck)).await.unwrap();
    assert_eq!((checked.exit_code, checked.output.as_str()), (Some(0), "well\n"), "{checked:?}");
    for (id, which) in [("e/heal/1", Which::SelfHealing), ("e/finalize/1", Which::Finalize)] {
        // Twice: run once.
        for _ in 0..2 {
            let done = server.step(&target, id, command(which)).await.unwrap();
            assert_eq!((done.exit_code, done.problem), (Some(0), None));
        }
    }
    let pid = sleeper.pid();
    assert_eq!(fs::read_to_string(&notes).unwrap(), format!("healed {pid}\nfinalized {pid}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_agent_dies_is_lost_and_never_run_again() {
    let sandbox = Sandbox::new();
    let server = Own::start(&sandbox, None).await;
    let mut agent = server.agent(&sandbox, "kitty-lost");
    let _sleeper = sleeper(&sandbox, "kitty-lost");
    let target = server.target("").await;
    let count = sandbox.path().join("count");
    let text = format!("echo begun >>{}; exec sleep 60", count.display());
    let argv = ["/bin/sh", "-c", &text].map(str::to_owned).into();
    let probe = run_step::Kind::Command(run_step::Command { argv });
    let asked = server.step(&target, "e/probe/1", probe.clone());
    let killed = async {
        eventually("it was begun", async || count.exists().then_some(())).await;
        agent.kill();
    };
    let (lost, ()) = tokio::join!(asked, killed);
    assert_eq!(lost.unwrap_err().code, Code::ConnectionLost);
    let _next = server.agent(&sandbox, "kitty-lost");
    let unknown =
        eventually("the agent is back", async || server.step(&target, "e/probe/1", probe.clone()).await.ok())
            .await;
    assert_eq!(unknown.problem.unwrap().code, Code::OutcomeUnknown.number());
    assert_eq!(fs::read_to_string(&count).unwrap(), "begun\n");
}
