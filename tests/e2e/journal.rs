//! Agent and guard die together: what they held is put back by the next start, or by `kitty-agent revert`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chaos_kitty::v1::{self, action::Kind, action_state::Name as State};
use chaos_kitty_tests::{
    Finished, Sandbox, Server, eventually,
    process::{Process, all_pids, is_alive, name, signal, state, wait_for},
};
use rustix::process::Signal;

const HOUR: Duration = Duration::from_secs(3600);

/// 1 s is promised; tests run on machines that are busy.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A process of a name of its own, so that other tests' mice are no targets.
struct Mouse {
    name: String,
    child: Child,
}

impl Mouse {
    fn start(sandbox: &Sandbox, which: &str) -> Self {
        let name = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", which);
        let program = sandbox.path().join(&name);
        fs::copy("/bin/sleep", &program).unwrap();
        let child = Command::new(program).arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self { name, child }
    }

    fn is_still(&self) -> bool {
        state(self.child.id()) == Some('T')
    }

    fn target(&self) -> String {
        format!("{}:{}", self.name, self.child.id())
    }
}

impl Drop for Mouse {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Begins an action of an hour, and returns once it is in force.
async fn begin(server: &Server, target: &str, kind: Kind) {
    let target = server.target(target).await;
    let request = v1::UnleashRequest {
        action: Some(v1::Action { duration: Some(HOUR.into()), kind: Some(kind) }),
        choice: Some(v1::unleash_request::Choice::Target(target.id)),
        source: "test".to_owned(),
        ..Default::default()
    };
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    loop {
        let update = updates.message().await.unwrap().expect("it comes into force");
        match update.state() {
            State::Started => return,
            State::Failed | State::Refused => panic!("{update:?}"),
            _ => {}
        }
    }
}

fn revert(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    let mut command = sandbox.command("kitty-agent");
    command.arg("revert").args(arguments).arg("--state").arg(sandbox.path().join("a.state"));
    sandbox.finish(command)
}

fn records(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("a.state/journal/records")
}

/// The cgroup of the script in force, which the journal names.
fn script_cgroup(sandbox: &Sandbox) -> PathBuf {
    let text = fs::read_to_string(records(sandbox)).unwrap();
    let (_, after) = text.rsplit_once("\"remove_cgroup\":{\"cgroup\":\"").expect("the script is recorded");
    after.split('"').next().unwrap().into()
}

/// How many processes are in a cgroup.
fn members(cgroup: &Path) -> usize {
    fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn by_the_next_start_of_the_agent_and_by_hand_what_stood_still_goes_on() {
    for by_hand in [true, false] {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--lease", "60s"]).await;
        let mouse = Mouse::start(&sandbox, "mouse");
        let flags = ["--process", mouse.name.as_str()];
        let mut agent = sandbox.agent(&server, "a", &flags).await;
        begin(&server, &mouse.target(), Kind::Delay(v1::Delay::default())).await;
        let running = revert(&sandbox, &["--all"]);
        assert!(running.code != 0 && running.stderr.contains("its guard puts back"), "{running}");
        assert!(mouse.is_still());
        agent.kill_with_guard();
        assert!(mouse.is_still(), "nobody is left to let it go on");
        let begun = Instant::now();
        if by_hand {
            let done = revert(&sandbox, &["--all"]);
            assert!(done.code == 0 && done.stdout.contains("kill -CONT"), "{done}");
            assert_eq!(revert(&sandbox, &["--all"]).stdout, "nothing was left\n");
            assert!(!mouse.is_still());
        } else {
            drop(agent);
            let _agent = sandbox.agent(&server, "a", &flags).await;
            wait_for("it goes on", || !mouse.is_still());
        }
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn stressors_and_scripts_are_gone_after_a_revert_by_hand() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "60s"]).await;
    let mice = ["mouse", "vole"].map(|which| Mouse::start(&sandbox, which));
    let flags = ["--process", mice[0].name.as_str(), "--process", mice[1].name.as_str()];
    let mut agent = sandbox.agent(&server, "a", &flags).await;
    begin(&server, &mice[0].target(), Kind::Cpu(v1::SpinCpu { cores: 1, load: 20 })).await;
    let stressors = || -> Vec<u32> {
        all_pids()
            .filter(|pid| name(*pid).starts_with("kitty-") && is_alive(*pid) && belongs(*pid, sandbox.path()))
            .collect()
    };
    assert!(!stressors().is_empty());
    let script = v1::RunScript { name: "cpuBurn.sh".to_owned(), ..Default::default() };
    begin(&server, &mice[1].target(), Kind::Script(script)).await;
    let cgroup = script_cgroup(&sandbox);
    wait_for("it burns", || members(&cgroup) > 1);
    agent.kill_with_guard();
    let done = revert(&sandbox, &["--all"]);
    assert_eq!(done.code, 0, "{done}");
    assert!(!cgroup.exists(), "{done}");
    assert!(stressors().is_empty(), "{done}");
}

/// Whether a process was started in that folder.
fn belongs(pid: u32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
}

#[tokio::test]
async fn a_journal_that_can_not_be_written_lets_nothing_be_injected_and_the_agent_stays_connected() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mouse = Mouse::start(&sandbox, "mouse");
    fs::create_dir(sandbox.path().join("a.state")).unwrap();
    // In the way of the folder, for root too.
    fs::write(sandbox.path().join("a.state/journal"), "").unwrap();
    let agent = sandbox.agent(&server, "a", &["--process", &mouse.name]).await;
    server.target(&mouse.target()).await;
    let pause = ["unleash", "delay", "--target", &mouse.target(), "--duration", "5s"];
    let refused = sandbox.kittyctl(&server.address(), &pause);
    assert!(refused.code != 0 && refused.stderr.contains("61011"), "{refused}");
    assert!(agent.process.stderr().contains("nothing is admitted"));
    assert!(!mouse.is_still());
    assert!(server.agents().await.iter().any(|agent| agent.connected));
    fs::remove_file(sandbox.path().join("a.state/journal")).unwrap();
    eventually("it is tried again", async || {
        let done = sandbox.kittyctl(
            &server.address(),
            &["unleash", "delay", "--target", &mouse.target(), "--duration", "10ms"],
        );
        (done.code == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_destroyed_record_is_set_aside_shown_as_stuck_and_admits_nothing_until_it_is_cleared() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--lease", "60s"]).await;
    let (mouse, vole) = (Mouse::start(&sandbox, "mouse"), Mouse::start(&sandbox, "vole"));
    let flags = ["--process", mouse.name.as_str(), "--process", vole.name.as_str()];
    let mut agent = sandbox.agent(&server, "a", &flags).await;
    for target in [mouse.target(), vole.target()] {
        begin(&server, &target, Kind::Delay(v1::Delay::default())).await;
    }
    agent.kill_with_guard();
    drop(agent);
    let mut bytes = fs::read(records(&sandbox)).unwrap();
    let place = bytes.len() - 20;
    bytes[place] ^= 1;
    fs::write(records(&sandbox), bytes).unwrap();
    let mut agent = sandbox.agent(&server, "a", &flags).await;
    eventually("it is shown", async || {
        let status = sandbox.kittyctl(&server.address(), &["status"]);
        status.stdout.contains("STUCK").then_some(())
    })
    .await;
    server.target(&mouse.target()).await;
    let kill = ["unleash", "kill", "--target", &mouse.target()];
    let refused = sandbox.kittyctl(&server.address(), &kill);
    assert!(refused.code != 0 && refused.stderr.contains("61011"), "{refused}");
    assert!(mouse.is_still() && vole.is_still(), "nothing is guessed at");
    agent.process.signal(Signal::TERM);
    agent.process.ended().await;
    let told = revert(&sandbox, &["--all"]);
    assert!(told.code == 1 && told.stdout.contains(&format!("kill -CONT {}", mouse.child.id())), "{told}");
    assert_eq!(revert(&sandbox, &["--clear"]).code, 0);
    for mouse in [&mouse, &vole] {
        signal(mouse.child.id(), Signal::CONT);
    }
    drop(agent);
    let _agent = sandbox.agent(&server, "a", &flags).await;
    server.target(&vole.target()).await;
    eventually("faults are admitted again", async || {
        let done = sandbox.kittyctl(
            &server.address(),
            &["unleash", "delay", "--target", &vole.target(), "--duration", "10ms"],
        );
        (done.code == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_stuck_is_listed_with_its_commands_by_a_server_that_knows_nothing_of_it_or_has_given_it_up() {
    for knows in [false, true] {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--lease", "2s"]).await;
        let (mouse, vole) = (Mouse::start(&sandbox, "mouse"), Mouse::start(&sandbox, "vole"));
        let flags = ["--process", mouse.name.as_str(), "--process", vole.name.as_str()];
        let mut agent = sandbox.agent(&server, "a", &flags).await;
        for target in [mouse.target(), vole.target()] {
            begin(&server, &target, Kind::Delay(v1::Delay::default())).await;
        }
        agent.kill_with_guard();
        drop(agent);
        // The record of the second one is lost, as if it had never been written.
        let text = fs::read_to_string(records(&sandbox)).unwrap();
        let first = text.split_inclusive('\n').next().unwrap();
        fs::write(records(&sandbox), first).unwrap();
        let server = if knows {
            eventually("its lease is over", async || server.active().await.is_empty().then_some(())).await;
            server
        } else {
            drop(server);
            sandbox.server(&["--store", "new.db"]).await
        };
        let _agent = sandbox.agent(&server, "a", &flags).await;
        let command = format!("kill -CONT {}", mouse.child.id());
        eventually("it is shown", async || {
            let shown = sandbox.kittyctl(&server.address(), &["status"]).stdout;
            (shown.contains("1 STUCK") && shown.contains(&command)).then_some(())
        })
        .await;
        let active = server.active().await;
        let [stuck] = &active[..] else { panic!("{active:?}") };
        let problem = stuck.problem.as_ref().unwrap();
        assert!(problem.message.contains("line 2: it is missing"), "{problem:?}");
        assert!(mouse.is_still() && vole.is_still(), "nothing is guessed at");
        for mouse in [&mouse, &vole] {
            signal(mouse.child.id(), Signal::CONT);
        }
    }
}

#[tokio::test]
async fn what_the_guard_put_back_after_its_agents_death_is_not_put_back_again_by_the_next_one() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mouse = Mouse::start(&sandbox, "mouse");
    let flags = ["--process", mouse.name.as_str()];
    let mut agent = sandbox.agent(&server, "a", &flags).await;
    begin(&server, &mouse.target(), Kind::Delay(v1::Delay::default())).await;
    agent.process.kill();
    wait_for("the guard lets it go on", || !mouse.is_still());
    // Somebody else's doing, of which no revert of ours may know.
    let told = revert(&sandbox, &["another-action"]);
    assert!(told.code == 1 && told.stdout.contains("by the guard"), "{told}");
    signal(mouse.child.id(), Signal::STOP);
    wait_for("it stands still", || mouse.is_still());
    drop(agent);
    let agent = sandbox.agent(&server, "a", &flags).await;
    server.target(&mouse.target()).await;
    assert!(mouse.is_still(), "{}", agent.process.stderr());
    signal(mouse.child.id(), Signal::CONT);
}

/// An agent in a mount namespace of its own, with its state on a small file system; gone when it ends.
fn on_a_small_disk(sandbox: &Sandbox, server: &Server, rule: &str) -> Process {
    fs::create_dir(sandbox.path().join("disk")).unwrap();
    let script = "mount -t tmpfs -o size=64k none disk && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.current_dir(sandbox.path()).args(["--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(sandbox.command("kitty-agent").get_program());
    command.args(["--name", "a", "--state", "disk/state", "--process", rule, "--server", &server.address()]);
    Process::start("a", command, sandbox.path())
}

#[tokio::test]
async fn a_full_disk_lets_nothing_be_injected_until_there_is_room() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mouse = Mouse::start(&sandbox, "mouse");
    let agent = on_a_small_disk(&sandbox, &server, &mouse.name);
    server.target(&mouse.target()).await;
    let filler = format!("/proc/{}/root{}/disk/filler", agent.pid(), sandbox.path().display());
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let pause = |duration: &str| {
        let target = mouse.target();
        let line = ["unleash", "delay", "--target", &target, "--duration", duration];
        sandbox.kittyctl(&server.address(), &line)
    };
    let refused = pause("60s");
    assert!(refused.code != 0 && format!("{refused}").contains("61011"), "{refused}");
    assert!(!mouse.is_still());
    drop(file);
    fs::remove_file(&filler).unwrap();
    let done = pause("10ms");
    assert_eq!(done.code, 0, "{done}");
}
