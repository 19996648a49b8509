//! Experiments on real processes, seen through from their suite to their end.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use chaos_kitty::{
    Code, Problem,
    v1::{
        self, BuildExperimentResponse, Experiment, ExperimentSuite, GetExperimentHistoryRequest,
        GetExperimentRequest, GetSuiteRecordRequest, SetAdminStateRequest, StopExperimentRequest,
        action_state::Name as ActionState, experiment_state::Name as State,
    },
};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, eventually,
    process::{Process, is_alive, wait_for},
};
use rustix::process::Signal;

/// Durations in milliseconds.
const QUICK: [(&str, &str); 6] = [
    ("--experiment-tick", "100ms"),
    ("--experiment-minimum", "200ms"),
    ("--experiment-maximum", "5s"),
    ("--self-healing-interval", "300ms"),
    ("--self-healing-retries", "2"),
    ("--finalization", "100ms"),
];

/// The quick durations, unless these flags have others.
fn with_quick(flags: &[&'static str]) -> Vec<&'static str> {
    let quick = QUICK.iter().filter(|(flag, _)| !flags.contains(flag));
    let quick = quick.flat_map(|(flag, value)| [*flag, *value]).chain(["--scripts-dir", "scripts"]);
    quick.chain(flags.iter().copied()).collect()
}

/// A server, an agent, and processes of one group.
pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) group: String,
    flags: Vec<&'static str>,
    supervisors: Vec<Process>,
    alone: Vec<Process>,
}

impl Place {
    /// `flags` are the server's, besides the quick ones.
    pub(crate) async fn new(group: &str, cattle: bool, flags: &[&'static str]) -> Self {
        Self::with_script(group, cattle, flags, "").await
    }

    /// The same with a script `nap.sh` of this header besides the included ones. In it, `HERE` is the sandbox's folder.
    pub(crate) async fn with_script(group: &str, cattle: bool, flags: &[&'static str], header: &str) -> Self {
        Self::with(group, cattle, flags, header, "").await
    }

    /// The same for methods that chance chooses: scripts, which could take this machine's disk or memory, are refused.
    pub(crate) async fn harmless(group: &str, flags: &[&'static str]) -> Self {
        Self::with(group, false, flags, "", "deny = ['script']").await
    }

    async fn with(group: &str, cattle: bool, flags: &[&'static str], header: &str, policy: &str) -> Self {
        let sandbox = Sandbox::new();
        let header = header.replace("HERE", sandbox.path().to_str().unwrap());
        fs::create_dir(sandbox.path().join("scripts")).unwrap();
        if !header.is_empty() {
            let script = format!("#!/bin/sh\n# Dependencies: sleep\n{header}\nexec sleep 60\n");
            fs::write(sandbox.path().join("scripts/nap.sh"), script).unwrap();
        }
        let server = sandbox.server(&with_quick(flags)).await;
        let rules = format!("[[process]]\nname = '{group}'\nprocess = '{group}'\ncattle = {cattle}\n");
        let config = sandbox.path().join("agent.toml");
        fs::write(&config, rules).unwrap();
        let policy_file = sandbox.path().join("policy.toml");
        fs::write(&policy_file, policy).unwrap();
        let (config, policy_file) = (config.to_str().unwrap(), policy_file.to_str().unwrap());
        let agent = sandbox.agent(&server, "host-1", &["--config", config, "--policy", policy_file]).await;
        Self {
            sandbox,
            server,
            agent,
            group: group.to_owned(),
            flags: flags.to_vec(),
            supervisors: Vec::new(),
            alone: Vec::new(),
        }
    }

    /// A program under the group's name.
    fn program(&self, real: &str) -> PathBuf {
        let program = self.sandbox.path().join(&self.group);
        if !program.exists() {
            symlink(real, &program).unwrap();
        }
        program
    }

    fn shell(&mut self, line: &str) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        let name = format!("supervisor-{}", self.supervisors.len());
        self.supervisors.push(Process::start(&name, command, self.sandbox.path()));
    }

    /// Services under supervision: a loop starts each again when it ends, and ends with this test.
    pub(crate) async fn supervised(&mut self, count: usize) {
        let program = self.program("/bin/sleep");
        for _ in 0..count {
            let parent = std::process::id();
            let line = format!(
                "trap 'kill $child; exit' TERM; while kill -0 {parent} 2>/dev/null; do {} 30 & child=$!; wait $child; done",
                program.display()
            );
            self.shell(&line);
        }
        self.there(count).await;
    }

    /// The same, of programs that do not listen to SIGTERM.
    pub(crate) async fn deaf(&mut self, count: usize) {
        let program = self.program("/bin/sh");
        for _ in 0..count {
            let parent = std::process::id();
            let deaf = format!("trap \\\"\\\" TERM; while kill -0 {parent} 2>/dev/null; do sleep 0.1; done");
            let line = format!(
                "trap 'kill -9 $child; exit' TERM; while kill -0 {parent} 2>/dev/null; do {} -c \"{deaf}\" & child=$!; wait $child; done",
                program.display()
            );
            self.shell(&line);
        }
        self.there(count).await;
    }

    /// Processes that nothing starts again.
    pub(crate) async fn alone(&mut self, count: usize) {
        let program = self.program("/bin/sleep");
        for number in 0..count {
            let mut command = Command::new(&program);
            command.arg("600");
            self.alone.push(Process::start(&format!("alone-{number}"), command, self.sandbox.path()));
        }
        self.there(count).await;
    }

    async fn there(&self, count: usize) -> Vec<v1::Target> {
        eventually("all of the group are targets", async || {
            let targets = self.server.targets().await;
            (targets.len() == count).then_some(targets)
        })
        .await
    }

    /// Another start of the server, which dies at this point if one is named.
    pub(crate) async fn restart_with(&mut self, point: Option<&str>) {
        self.server.process.kill();
        self.sandbox.set("KITTY_CRASH_AT", point.unwrap_or_default());
        self.server = self.sandbox.server(&with_quick(&self.flags)).await;
        self.there(self.supervisors.len() + self.alone.len()).await;
    }

    pub(crate) fn suite(&self, methods: &[&str]) -> ExperimentSuite {
        let json = serde_json::json!({
            "platformType": "ProcessPlatform",
            "experimentCriteria": [{ "containerIdentifier": self.group, "experimentMethods": methods }],
        });
        serde_json::from_value(json).unwrap()
    }

    pub(crate) async fn build(&self, suite: ExperimentSuite) -> Result<BuildExperimentResponse, Problem> {
        let answer = self.server.client().await.build_experiment(suite).await;
        answer.map(tonic::Response::into_inner).map_err(Problem::from)
    }

    pub(crate) async fn get(&self, id: &str) -> Experiment {
        let request = GetExperimentRequest { id: id.to_owned() };
        self.server.client().await.get_experiment(request).await.unwrap().into_inner()
    }

    /// The only experiment of a suite, once it is over.
    async fn over(&self, built: &BuildExperimentResponse) -> Experiment {
        let [experiment] = &built.experiments[..] else { panic!("{built:?}") };
        assert_eq!(experiment.experiment_state(), State::Created);
        eventually("it is over", async || {
            let experiment = self.get(&experiment.id).await;
            is_over(&experiment).then_some(experiment)
        })
        .await
    }

    async fn action(&self, id: &str) -> v1::ActionStatus {
        let request = v1::GetActionRequest { id: id.to_owned() };
        self.server.client().await.get_action(request).await.unwrap().into_inner()
    }
}

impl Drop for Place {
    /// The loops end their children when they are told to, not when they are killed.
    fn drop(&mut self) {
        for supervisor in &mut self.supervisors {
            if supervisor.is_running() {
                supervisor.signal(Signal::TERM);
            }
        }
        if !std::thread::panicking() {
            wait_for("the supervisors end", || self.supervisors.iter_mut().all(|it| !it.is_running()));
        }
    }
}

pub(crate) fn is_over(experiment: &Experiment) -> bool {
    matches!(experiment.experiment_state(), State::Finished | State::Failed)
}

fn states(experiment: &Experiment) -> Vec<State> {
    experiment.transitions.iter().map(|transition| transition.state()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_and_started_again_by_its_supervisor_finishes_by_itself() {
    let mut place = Place::new("kitty-sup", true, &[]).await;
    place.supervised(3).await;
    let built = place.build(place.suite(&["killProcess"])).await.unwrap();
    let experiment = place.over(&built).await;
    let path = [State::Created, State::Starting, State::Started, State::Finalizing, State::Finished];
    assert_eq!(states(&experiment), path, "{experiment:?}");
    assert_eq!(experiment.was_self_healing_required, Some(false));
    let target = experiment.container.unwrap();
    assert!(!is_alive(target.pids[0]));
    assert_eq!(place.there(3).await.iter().filter(|it| it.id == target.id).count(), 0);
    assert_eq!(place.action(&experiment.action_id).await.state(), ActionState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_die_of_the_signal_is_recycled_and_finishes() {
    let flags = ["--experiment-maximum", "600ms", "--self-healing-interval", "30s"];
    let mut place = Place::new("kitty-stuck", true, &flags).await;
    place.deaf(2).await;
    let built = place.build(place.suite(&["killProcess"])).await.unwrap();
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
    assert_eq!((experiment.was_self_healing_required, experiment.self_healing_counter), (Some(true), 1));
    assert!(!is_alive(experiment.container.unwrap().pids[0]));
    place.there(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hopeless_one_fails_after_its_retries_and_says_so() {
    let mut place = Place::new("kitty-hope", true, &["--experiment-maximum", "600ms"]).await;
    place.alone(2).await;
    let built = place.build(place.suite(&["killProcess"])).await.unwrap();
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Failed);
    assert_eq!(experiment.problem.as_ref().unwrap().code, Code::HealingFailed.number());
    assert_eq!(experiment.self_healing_counter, 2);
    let path = [
        State::Created,
        State::Starting,
        State::Started,
        State::SelfHealing,
        State::SelfHealing,
        State::SelfHealing,
        State::Failed,
    ];
    assert_eq!(states(&experiment), path, "{experiment:?}");
    assert_eq!(place.server.active().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_whose_health_check_never_succeeds_fails_after_its_retries_with_its_fault_reverted() {
    let header = "# Health check: false\n# Self healing: echo healed >> HERE/healed";
    let flags = ["--experiment-maximum", "600ms"];
    let mut place = Place::with_script("kitty-ill", false, &flags, header).await;
    place.alone(2).await;
    let built = place.build(place.suite(&["nap.sh"])).await.unwrap();
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Failed, "{experiment:?}");
    assert_eq!(experiment.problem.as_ref().unwrap().code, Code::HealingFailed.number());
    assert_eq!(experiment.self_healing_counter, 2);
    assert_eq!(place.action(&experiment.action_id).await.state(), ActionState::Reverted);
    let healed = fs::read_to_string(place.sandbox.path().join("healed")).unwrap();
    // Once by each attempt, and by the undo of the fault, even where its deadline and the order to revert it meet.
    assert_eq!(healed.lines().count(), 3, "{healed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pet_that_stands_still_is_put_back_and_finishes() {
    let mut place = Place::new("kitty-pet", false, &[]).await;
    place.alone(2).await;
    let built = place.build(place.suite(&["delay"])).await.unwrap();
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
    assert_eq!(experiment.end_reason(), v1::end_reason::Name::Stopped);
    let action = place.action(&experiment.action_id).await;
    assert_eq!(action.state(), ActionState::Reverted);
    assert_eq!(action.action.unwrap().duration, experiment.parameters.unwrap().maximum_duration);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_is_put_back_and_healed_at_once() {
    let mut place =
        Place::new("kitty-stop", false, &["--experiment-minimum", "60s", "--experiment-maximum", "60s"])
            .await;
    place.alone(2).await;
    let built = place.build(place.suite(&["delay"])).await.unwrap();
    let id = built.experiments[0].id.clone();
    eventually("the fault is in force", async || {
        (place.get(&id).await.experiment_state() == State::Started).then_some(())
    })
    .await;
    let running = place.build(place.suite(&["delay"])).await.unwrap_err();
    assert_eq!(running.code, Code::SuiteRunning);
    let stopped = place.server.client().await.stop_experiment(StopExperimentRequest { id: id.clone() }).await;
    assert!(stopped.unwrap().into_inner().self_healing_counter <= 1);
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
    assert_eq!(experiment.was_self_healing_required, Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_is_in_the_history_and_its_document_chooses_the_same_again() {
    let mut place = Place::new("kitty-hist", false, &["--concurrent-suites"]).await;
    place.alone(6).await;
    let mut suite = place.suite(&["delay", "spinCpu"]);
    suite.seed = Some(7);
    suite.name = "rehearsal".to_owned();
    suite.dry_run = true;
    let dry = place.build(suite.clone()).await.unwrap();
    assert!(dry.suite.is_none() && dry.experiments.iter().all(|it| it.id.is_empty()));
    suite.dry_run = false;
    let built = place.build(suite.clone()).await.unwrap();
    let targets = |built: &BuildExperimentResponse| -> Vec<_> {
        let target = |it: &Experiment| {
            (it.container.as_ref().unwrap().name.clone(), it.experiment_method_name.clone())
        };
        built.experiments.iter().map(target).collect()
    };
    assert_eq!(targets(&built), targets(&dry));

    let mut client = place.server.client().await;
    let history =
        client.get_experiment_history(GetExperimentHistoryRequest::default()).await.unwrap().into_inner();
    let [entry] = &history.suites[..] else { panic!("{history:?}") };
    assert_eq!((entry.at, entry.suite.as_ref()), (built.suite, Some(&suite)));
    for experiment in &built.experiments {
        eventually("it is over", async || is_over(&place.get(&experiment.id).await).then_some(())).await;
    }
    let again = place.build(entry.suite.clone().unwrap()).await.unwrap();
    assert_eq!(targets(&again), targets(&built));

    let record =
        client.get_suite_record(GetSuiteRecordRequest { at: built.suite }).await.unwrap().into_inner();
    assert_eq!((record.seed, record.automatic, record.experiments.len()), (7, false, 2));
    assert_eq!((record.groups[0].targets.len(), record.groups[0].well), (6, 6));
    assert_eq!(record.agents[0].id, place.agent.name);
    assert!(record.experiments.iter().all(|it| it.experiment_state() == State::Finished), "{record:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_whose_steady_state_does_not_hold_is_refused_and_a_stop_condition_aborts_it() {
    let mut place = Place::new(
        "kitty-steady",
        false,
        &["--experiment-minimum", "60s", "--experiment-maximum", "60s", "--probe-interval", "50ms"],
    )
    .await;
    place.alone(2).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let probe: v1::Probe =
        serde_json::from_value(serde_json::json!({ "tcp": { "address": address } })).unwrap();
    let suite = ExperimentSuite { stop_conditions: vec![probe.clone()], ..place.suite(&["delay"]) };
    let built = place.build(suite).await.unwrap();
    let id = built.experiments[0].id.clone();
    eventually("the fault is in force", async || {
        (place.get(&id).await.experiment_state() == State::Started).then_some(())
    })
    .await;
    drop(listener);
    let experiment = place.over(&built).await;
    assert_eq!(experiment.experiment_state(), State::Finished, "{experiment:?}");
    let reasons: Vec<_> = experiment.transitions.iter().map(|it| it.reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("stop condition \"tcp 1\"")), "{reasons:?}");
    let steady = ExperimentSuite { steady_state: vec![probe], ..place.suite(&["delay"]) };
    let refused = place.build(steady).await.unwrap_err();
    assert_eq!(refused.code, Code::NotSteady);
    let record = eventually("the probe's news are recorded", async || {
        let request = GetSuiteRecordRequest { at: built.suite };
        let record = place.server.client().await.get_suite_record(request).await.unwrap().into_inner();
        (record.probes.len() >= 2).then_some(record)
    })
    .await;
    assert_eq!((record.probes[0].holds, record.probes[1].holds), (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrative_state_survives_a_restart_and_admits_nothing_new() {
    let mut place = Place::new("kitty-admin", false, &[]).await;
    place.alone(2).await;
    let request =
        SetAdminStateRequest { state: v1::admin_state::Name::Drain.into(), source: "test".to_owned() };
    place.server.client().await.set_admin_state(request).await.unwrap();
    assert_eq!(place.build(place.suite(&["delay"])).await.unwrap_err().code, Code::NotAdmitted);
    place.restart_with(None).await;
    assert_eq!(place.server.status().await.admin_state(), v1::admin_state::Name::Drain);
}
