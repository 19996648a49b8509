//! Experiments as the users of kittyctl have them: documents, waiting, history, replay, and the live view.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use chaos_kitty_tests::{
    Agent, Finished, Sandbox, Server, eventually,
    process::{Process, state, wait_for},
};
use rustix::process::Signal;
use serde_json::{Value, json};

const TICK: &[&str] = &["--experiment-tick", "100ms"];

/// A server that ticks fast, an agent, and a group of processes of the test's own.
struct Stage {
    sandbox: Sandbox,
    server: Server,
    agent: Agent,
    victims: Vec<Process>,
    group: String,
}

impl Stage {
    async fn set(victims: usize) -> Self {
        Self::with(TICK, victims).await
    }

    async fn with(settings: &[&str], victims: usize) -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.server(settings).await;
        // A name that no other process of this machine has.
        let group = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "doze");
        let program = sandbox.path().join(&group);
        symlink("/bin/sleep", &program).unwrap();
        // Chance may choose the method: a script could take this machine's disk or memory.
        let policy = sandbox.path().join("policy.toml");
        fs::write(&policy, "deny = ['script']").unwrap();
        let flags = ["--process", &group, "--policy", policy.to_str().unwrap()];
        let agent = sandbox.agent(&server, "web-1", &flags).await;
        let start = |number| {
            let mut command = Command::new(&program);
            command.arg("600");
            Process::start(&format!("victim-{number}"), command, sandbox.path())
        };
        let victims: Vec<_> = (0..victims).map(start).collect();
        for victim in &victims {
            server.target(&format!("{group}:{}", victim.pid())).await;
        }
        Self { sandbox, server, agent, victims, group }
    }

    fn kittyctl(&self, arguments: &[&str]) -> Finished {
        self.sandbox.kittyctl(&self.server.address(), arguments)
    }

    /// The same, which must succeed.
    fn must(&self, arguments: &[&str]) -> Finished {
        let done = self.kittyctl(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done}");
        done
    }

    /// kittyctl as a process of its own.
    fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = self.sandbox.command("kittyctl");
        command.args(["--server", &self.server.address()]).args(arguments).env("NO_COLOR", "1");
        Process::start(name, command, self.sandbox.path())
    }

    fn victim(&self, number: usize) -> String {
        format!("{}:{}", self.group, self.victims[number].pid())
    }

    /// The document of a suite of one method. All that waits, waits for a moment only.
    fn document(&self, method: &str, count: usize, targets: &[String], parameters: Value) -> Value {
        let mut own = json!({
            "maximumDuration": "60s",
            "finalizationDuration": "0.05s",
            "selfHealingInterval": "0.2s",
            "selfHealingRetries": 200,
        });
        own.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        json!({
            "platformType": "ProcessPlatform",
            "experimentCriteria": [{
                "containerIdentifier": self.group,
                "experimentMethods": vec![method; count],
                "specificContainerTargets": targets,
            }],
            "methodParameters": {method: own},
        })
    }

    /// Experiments that are over soon: with some memory held, their targets are well all the time.
    fn short(&self, count: usize, targets: &[String]) -> Value {
        let parameters = json!({"minimumDuration": "0.2s", "memory": {"sizeBytes": "1048576"}});
        self.document("allocateMemory", count, targets, parameters)
    }

    /// An experiment that is not over before somebody stops it: its target stands still.
    fn long(&self, target: String) -> Value {
        self.document("delay", 1, &[target], json!({"minimumDuration": "60s"}))
    }

    /// Writes it where `build -f` finds it.
    fn file(&self, document: &Value) -> String {
        let path = self.sandbox.path().join("crit.json");
        fs::write(&path, document.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Times of the suites, newest first.
    fn suites(&self) -> Vec<String> {
        let names = self.must(&["experiment", "history", "-o", "name"]).stdout;
        names.lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_is_built_waited_for_recorded_and_built_again_as_it_was() {
    let stage = Stage::set(3).await;
    let document = stage.short(2, &[]);
    let file = stage.file(&document);

    let dry = stage.must(&["experiment", "build", "-f", &file, "--dry-run", "--seed", "7", "-o", "name"]);
    assert_eq!(dry.stdout.lines().count(), 2, "{dry}");
    assert!(dry.stderr.contains("nothing was started") && dry.stderr.contains("--seed 7"), "{dry}");
    assert!(stage.suites().is_empty(), "a dry run leaves no suite");

    let done = stage.must(&["experiment", "build", "-f", &file, "--wait", "--seed", "7"]);
    assert_eq!(done.stdout.matches("FINISHED").count(), 2, "{done}");
    assert!(done.stderr.contains("STARTED allocateMemory on"), "progress is talk: {done}");
    for target in dry.stdout.lines() {
        let name = target.rsplit('/').next().unwrap();
        assert!(done.stdout.contains(name), "the same seed chose {target} before: {done}");
    }

    let none = stage.must(&["experiment", "list"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no experiments\n"));
    let all = stage.must(&["experiment", "list", "--all", "-o", "name"]).stdout;
    let ids: Vec<_> = all.lines().collect();
    assert_eq!(ids.len(), 2, "{all}");
    let one = stage.must(&["experiment", "get", ids[0]]).stdout;
    for state in ["CREATED", "STARTING", "STARTED", "FINALIZING", "FINISHED"] {
        assert!(one.contains(state), "{state}: {one}");
    }

    let history = stage.must(&["experiment", "history", "-o", "json"]).json();
    let [(first, value)] = &history.as_object().unwrap().iter().collect::<Vec<_>>()[..] else {
        panic!("one suite: {history}")
    };
    assert_eq!(value["experimentCriteria"], document["experimentCriteria"], "{history}");
    assert!(first.ends_with('Z') && first.len() == "2019-08-29T12:55:31.139495Z".len(), "{first}");
    let again = stage.file(value);
    stage.must(&["experiment", "build", "-f", &again, "--dry-run"]);

    let record = stage.must(&["experiment", "record", first]).stdout;
    assert!(record.contains("3 targets, 3 well") && record.contains("agent web-1"), "{record}");

    let replayed = stage.must(&["experiment", "replay", first, "--same", "--wait", "-o", "json"]).stdout;
    let last: Value = serde_json::from_str(replayed.lines().last().unwrap()).unwrap();
    assert_eq!(last["experimentState"], "FINISHED", "{replayed}");
    let suites = stage.suites();
    assert_eq!((suites.len(), &suites[1]), (2, *first));
    let diff = stage.must(&["experiment", "diff", &suites[1], &suites[0]]).stdout;
    assert!(diff.contains("identical, durations apart"), "{diff}");
    let diff = stage.must(&["experiment", "diff", &suites[1], &suites[0], "-o", "json"]).json();
    assert_eq!(diff["identical"], true, "{diff}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_suites_that_were_not_alike_are_told_apart() {
    let stage = Stage::set(3).await;
    for target in [stage.victim(0), stage.victim(1)] {
        let file = stage.file(&stage.short(1, &[target]));
        stage.must(&["experiment", "build", "-f", &file, "--wait", "--seed", "1"]);
    }
    let suites = stage.suites();
    let diff = stage.must(&["experiment", "diff", &suites[1], &suites[0]]).stdout;
    let differ: Vec<_> = diff.lines().filter(|line| line.contains("differs")).collect();
    assert_eq!(differ.len(), 2, "the document and the targets: {diff}");
    assert!(diff.contains("differs: experimentCriteria"), "{diff}");
    assert!(diff.contains(&stage.victim(0)) && diff.contains(&stage.victim(1)), "{diff}");
}

#[test]
fn a_document_that_can_not_be_read_is_exit_code_2_without_any_server() {
    let sandbox = Sandbox::new();
    let build = |content: &str| {
        fs::write(sandbox.path().join("crit.json"), content).unwrap();
        let mut command = sandbox.command("kittyctl");
        command.args(["experiment", "build", "-f", "crit.json"]);
        sandbox.finish(command)
    };
    let unknown = build("{\n  \"platformTyp\": \"ProcessPlatform\"\n}");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""), "{unknown}");
    assert!(unknown.stderr.contains("error: 63007: crit.json: unknown field `platformTyp`"), "{unknown}");
    assert_eq!(build("{\"platformType\": ").code, 2);
    assert_eq!(build("{\"platformType\": \"a\"}").code, 4, "it can be read, and nobody is there");
    let mut command = sandbox.command("kittyctl");
    command.args(["experiment", "build", "-f", "nowhere.json"]);
    let missing = sandbox.finish(command);
    assert_eq!(missing.code, 2, "{missing}");
    assert!(missing.stderr.contains("nowhere.json"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_told_and_nothing_is_built() {
    let stage = Stage::set(2).await;
    let mut foreign = stage.short(1, &[]);
    foreign["platformType"] = "CloudFoundryContainerPlatform".into();
    let refused = stage.kittyctl(&["experiment", "build", "-f", &stage.file(&foreign)]);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: 12004: "), "{refused}");
    let too_many = stage.kittyctl(&["experiment", "build", "-f", &stage.file(&stage.short(2, &[]))]);
    assert_eq!(too_many.code, 1, "one of two has to be left alone: {too_many}");
    assert!(too_many.stderr.contains("error: 13004: "), "{too_many}");
    for (arguments, number) in [
        (["experiment", "get", "01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11"], "63015"),
        (["experiment", "watch", "01999b5e-6a5f-7c63-a0a4-3f1d7c1f2b11"], "63015"),
        (["experiment", "replay", "2019-08-29T12:55:31.139495Z"], "63016"),
    ] {
        let done = stage.kittyctl(&arguments);
        assert_eq!(done.code, 1, "{done}");
        assert!(done.stderr.contains(number), "{done}");
    }
    assert_eq!(stage.kittyctl(&["experiment", "record", "yesterday"]).code, 2);
    assert!(stage.suites().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_awaited_experiment_that_fails_is_exit_code_3() {
    let mut stage = Stage::set(2).await;
    let file = stage.file(&stage.long(stage.victim(0)));
    let mut build = stage.start("build", &["experiment", "build", "-f", &file, "--wait"]);
    wait_for("the fault is in force", || build.stderr().contains("STARTED delay"));
    let gone = stage.victim(0);
    stage.victims[0].kill();
    eventually("the victim is no target any more", async || {
        stage.server.targets().await.iter().all(|target| target.name != gone).then_some(())
    })
    .await;
    // Nothing recreates it, so nothing can heal it.
    let id = stage.must(&["experiment", "list", "-o", "name"]).stdout.trim().to_owned();
    stage.must(&["experiment", "stop", &id]);
    let status = build.ended().await;
    assert_eq!(status.code(), Some(3), "{}", build.stderr());
    assert!(build.stdout().contains("FAILED"), "{}", build.stdout());
    assert!(build.stderr().contains("error: "), "why it failed: {}", build.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_ends_the_waiting_and_not_the_experiment() {
    let stage = Stage::set(2).await;
    let file = stage.file(&stage.long(stage.victim(0)));
    let mut build = stage.start("build", &["experiment", "build", "-f", &file, "--wait"]);
    wait_for("the fault is in force", || build.stderr().contains("STARTED delay"));
    build.signal(Signal::INT);
    assert_eq!(build.ended().await.code(), Some(130), "{}", build.stderr());
    assert!(build.stderr().contains("the experiment goes on"), "{}", build.stderr());
    assert_eq!(state(stage.victims[0].pid()), Some('T'), "its fault is still in force");

    let id = stage.must(&["experiment", "list", "-o", "name"]).stdout.trim().to_owned();
    assert!(build.stderr().contains(&id), "{}", build.stderr());
    let status = stage.must(&["status"]).stdout;
    assert!(status.contains("1 is not over") && status.contains(&id), "{status}");

    let mut watch = stage.start("watch", &["experiment", "watch", &id]);
    wait_for("somebody watches", || watch.stderr().contains("STARTED delay"));
    stage.must(&["experiment", "stop", &id]);
    assert_eq!(watch.ended().await.code(), Some(5), "{}", watch.stderr());
    assert!(watch.stderr().contains("SELF_HEALING"), "{}", watch.stderr());
    assert!(watch.stdout().contains("FINISHED"), "{}", watch.stdout());
    assert_eq!(state(stage.victims[0].pid()), Some('S'));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_goes_on_through_a_restart_of_the_server() {
    for end in [Signal::TERM, Signal::KILL] {
        let mut stage = Stage::set(2).await;
        let file = stage.file(&stage.long(stage.victim(0)));
        let mut build = stage.start("build", &["experiment", "build", "-f", &file, "--wait"]);
        wait_for("the fault is in force", || build.stderr().contains("STARTED delay"));
        stage.server.process.signal(end);
        stage.server.process.ended().await;
        wait_for("the loss is seen", || build.stderr().contains("; trying again"));
        stage.server = stage.sandbox.server(TICK).await;
        let id = stage.must(&["experiment", "list", "-o", "name"]).stdout.trim().to_owned();
        stage.must(&["experiment", "stop", &id]);
        assert_eq!(build.ended().await.code(), Some(5), "{}", build.stderr());
        assert!(build.stdout().contains("FINISHED"), "{}", build.stdout());
        assert!(build.stderr().contains("the suite is ABORTED: delay on"), "{}", build.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_away_through_a_restart_is_waited_for() {
    let settings = [TICK, &["--lease", "2s"]].concat();
    let mut stage = Stage::with(&settings, 2).await;
    let slow = stage.document("delay", 1, &[stage.victim(0)], json!({"minimumDuration": "0.2s"}));
    let file = stage.file(&slow);
    let mut build = stage.start("build", &["experiment", "build", "-f", &file, "--wait"]);
    wait_for("the fault is in force", || build.stderr().contains("STARTED delay"));
    stage.agent.process.signal(Signal::STOP);
    stage.server.process.signal(Signal::KILL);
    stage.server.process.ended().await;
    stage.server = stage.sandbox.server(&settings).await;

    let id = stage.must(&["experiment", "list", "-o", "name"]).stdout.trim().to_owned();
    let experiment = stage.must(&["experiment", "get", &id, "-o", "json"]).json();
    let action = experiment["actionId"].as_str().unwrap().to_owned();
    wait_for("the lease is over", || {
        stage.must(&["action", "get", &action, "-o", "json"]).json()["state"] == "FAILED"
    });
    let waits = || stage.must(&["experiment", "get", &id]).stdout;
    wait_for("it waits and says so", || waits().contains("its agent is away"));
    assert!(!waits().contains("gone"), "{}", waits());

    stage.agent.process.signal(Signal::CONT);
    // Its target is well, but the lease has cut the fault short.
    assert_eq!(build.ended().await.code(), Some(1), "{}", build.stderr());
    assert!(build.stdout().contains("FINISHED"), "{}", build.stdout());
    assert!(build.stderr().contains("the suite is ERRORED"), "{}", build.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_scripts_are_listed() {
    let stage = Stage::set(1).await;
    let names = stage.must(&["experiment", "methods", "--platform", "process", "-o", "name"]).stdout;
    let names: Vec<_> = names.lines().collect();
    assert!(names.contains(&"delay") && names.contains(&"killProcess"), "{names:?}");
    assert!(!names.contains(&"raiseError"), "that one needs the SDK: {names:?}");
    let table = stage.must(&["experiment", "methods"]).stdout;
    assert!(table.contains("The target stands still") && table.contains("worker process"), "{table}");

    let scripts = stage.must(&["script", "list", "-o", "name"]).stdout;
    assert!(scripts.lines().any(|name| name == "cpuBurn.sh"), "{scripts}");
    let shown = stage.must(&["script", "show", "cpuBurn.sh"]).stdout;
    let message = stage.must(&["script", "show", "cpuBurn.sh", "-o", "json"]).json();
    assert_eq!(message["content"], shown.as_str());
    let unknown = stage.kittyctl(&["script", "show", "meow.sh"]);
    assert_eq!(unknown.code, 1, "{unknown}");
    assert!(unknown.stderr.contains("error: 63013: "), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrative_state_is_shown_set_and_seen_in_the_events() {
    let stage = Stage::set(2).await;
    assert_eq!(stage.must(&["admin", "state", "-o", "name"]).stdout, "STARTED\n");
    let watch = stage.start("watch", &["event", "watch", "--kind", "admin_state", "--kind", "experiment"]);
    // A watch begins when the server has it, which nothing shows: so it is set until it is seen.
    wait_for("the watch shows a new state", || {
        assert_eq!(stage.must(&["admin", "state", "drain", "-o", "json"]).json()["state"], "DRAIN");
        watch.stdout().contains("the administrative state is DRAIN")
    });
    let file = stage.file(&stage.short(1, &[]));
    let refused = stage.kittyctl(&["experiment", "build", "-f", &file]);
    assert_eq!(refused.code, 1, "{refused}");
    assert!(refused.stderr.contains("error: 61014: "), "{refused}");
    assert!(stage.must(&["status"]).stdout.contains("DRAIN"));

    assert!(stage.must(&["admin", "state", "STARTED"]).stdout.contains("STARTED"));
    stage.must(&["experiment", "build", "-f", &file, "--wait"]);
    wait_for("the watch shows the end of the experiment", || watch.stdout().contains("FINISHED"));
    assert_eq!(stage.kittyctl(&["admin", "state", "STARTING"]).code, 2, "nobody can set it");
    stage.must(&["halt"]);
    let halted = stage.must(&["admin", "state"]).stdout;
    assert!(halted.contains("ABORT") && halted.contains("kittyctl resume"), "{halted}");
}

/// A terminal in which a command runs, by script(1) of util-linux. Killed when dropped.
struct Terminal {
    child: Child,
    screen: PathBuf,
}

impl Terminal {
    fn start(stage: &Stage, shell_command: &str) -> Self {
        let screen = stage.sandbox.path().join("screen");
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", shell_command, "/dev/null"]);
        let child = command
            .current_dir(stage.sandbox.path())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(File::create(&screen).unwrap())
            .spawn()
            .unwrap();
        Self { child, screen }
    }

    /// All that was ever written to it.
    fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.screen).unwrap()).into_owned()
    }

    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(keys).unwrap();
        keyboard.flush().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_keeps_up_with_what_happens_and_gives_the_terminal_back() {
    let stage = Stage::set(2).await;
    let program = stage.sandbox.command("kittyctl").get_program().to_str().unwrap().to_owned();
    let top = format!("{program} --server {} top", stage.server.address());
    for key in [b"q", b"\x03"] {
        let mut terminal = Terminal::start(&stage, &format!("stty -g; {top}; code=$?; stty -g; exit $code"));
        wait_for("the first frame", || terminal.shown().contains("q quits"));
        stage.must(&["admin", "state", "DRAIN"]);
        // The events are followed from some time after the first frame on, which the next look at the state shows.
        wait_for("the state is seen", || terminal.shown().contains("DRAIN"));
        stage.must(&["admin", "state", "STARTED"]);
        wait_for("the event is seen", || terminal.shown().contains("the administrative state is STARTED"));
        let file = stage.file(&stage.long(stage.victim(0)));
        let id = stage.must(&["experiment", "build", "-f", &file, "-o", "name"]).stdout.trim().to_owned();
        wait_for("the experiment is seen", || terminal.shown().contains(&id));
        terminal.press(key);
        let code = eventually("top ends", async || terminal.child.try_wait().unwrap()).await.code();
        let shown = terminal.shown();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("\u{1b}[?1049h") && shown.contains("\u{1b}[?1049l"), "{shown:?}");
        let settings: Vec<_> = shown.lines().filter(|line| line.matches(':').count() > 20).collect();
        let first = settings.first().unwrap();
        assert!(settings.last().unwrap().ends_with(first), "the terminal is as it was: {settings:?}");
        stage.must(&["experiment", "stop", &id]);
        assert_eq!(stage.kittyctl(&["experiment", "watch", &id]).code, 5, "it was stopped by a person");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_without_a_terminal_shows_what_there_is_and_ends() {
    let stage = Stage::set(1).await;
    let once = stage.must(&["top"]);
    assert!(once.stdout.contains("RUNNING") && once.stdout.contains("1 agents"), "{once}");
    assert!(!once.stdout.contains('\u{1b}'), "{once}");
    let message = stage.must(&["top", "-o", "json"]).json();
    assert_eq!((&message["status"]["agents"], &message["experiments"]), (&json!(1), &json!([])), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_shown_and_each_part_is_changed_without_the_others() {
    let stage = Stage::set(1).await;
    let before = stage.must(&["schedule", "show", "-o", "json"]).json();
    assert_ne!(before["automated"], true, "it is off until somebody wants it: {before}");
    let on = stage.must(&["schedule", "on", "-o", "json"]).json();
    assert_eq!((&on["automated"], &on["backoff"]), (&json!(true), &before["backoff"]));
    let backoff = stage.must(&["schedule", "backoff", "45m", "-o", "json"]).json();
    assert_eq!((&backoff["automated"], &backoff["backoff"]), (&json!(true), &json!("2700s")));
    assert_eq!(stage.must(&["schedule", "show", "-o", "json"]).json(), backoff);
    let shown = stage.must(&["schedule", "show"]).stdout;
    assert!(shown.contains("ProcessPlatform") && shown.contains("45m"), "{shown}");
    let off = stage.must(&["schedule", "off", "-o", "json"]).json();
    assert_eq!((off["automated"] == true, &off["backoff"]), (false, &json!("2700s")));
    assert_eq!(stage.kittyctl(&["schedule", "backoff", "soon"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn experiments_are_started_now_on_a_target_of_ones_choice_or_of_the_servers() {
    let stage = Stage::set(3).await;
    let target = stage.victim(1);
    let chosen = stage.must(&["experiment", "start", "--target", &target, "-o", "json"]).json();
    let [one] = &chosen["experiments"].as_array().unwrap()[..] else { panic!("one experiment: {chosen}") };
    assert_eq!(one["container"]["name"], target.as_str());
    // Unless its agent has refused it already.
    stage.kittyctl(&["experiment", "stop", one["id"].as_str().unwrap()]);
    wait_for("it is over", || stage.must(&["experiment", "list", "-o", "name"]).stdout.is_empty());

    let random = stage.must(&["experiment", "start", "-o", "name"]).stdout;
    assert!(!random.is_empty(), "somebody is hit");
    for id in random.lines() {
        let started = stage.must(&["experiment", "get", id, "-o", "json"]).json();
        assert_eq!(started["container"]["aggregationIdentifier"], stage.group.as_str(), "{started}");
        stage.kittyctl(&["experiment", "stop", id]);
    }
    let unknown = stage.kittyctl(&["experiment", "start", "--target", "nobody"]);
    assert_eq!(unknown.code, 1, "{unknown}");
}
