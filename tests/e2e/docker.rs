//! Containers of a real Docker Engine as targets: found by its events, hurt from inside their own limits, and put
//! back whoever dies.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
    time::Duration,
};

use chaos_kitty::{
    Code,
    v1::{
        self, ActionStatus, AllocateMemory, Delay, Kill, Restart, RunScript, SpinCpu, Stop, action::Kind,
        action_kind::Name as Action, action_result::Kind as Figures, action_state::Name as State,
        end_reason::Name as EndReason, platform::health::State as PlatformHealth,
        target_health::State as Health,
    },
};
use chaos_kitty_tests::{
    Agent, Sandbox, Server, docker,
    docker::Docker,
    eventually,
    process::{Process, cpu_time, is_alive},
    simulated::Engine,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Does nothing, and as PID 1 of its container does not mind being asked to end.
const SERVICE: [&str; 3] = ["/busybox", "sleep", "3600"];

/// Ends at once when it is asked to.
pub(crate) const POLITE: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"];

/// Writes down that it is asked to end, and goes on.
pub(crate) const STUBBORN: [&str; 3] = ["sh", "-c", "trap ': > /asked' TERM; while :; do sleep 0.1; done"];

fn held(kind: Kind, duration: Duration) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(kind) }
}

fn at_once(kind: Kind) -> v1::Action {
    v1::Action { duration: None, kind: Some(kind) }
}

fn kill(through_runtime: bool) -> v1::Action {
    at_once(Kind::Kill(Kill { signal: "KILL".to_owned(), through_runtime, ..Kill::default() }))
}

fn figures(status: &ActionStatus, state: State) -> Figures {
    assert_eq!(status.state(), state, "{status:?}");
    status.result.clone().unwrap().kind.unwrap()
}

/// A server and an agent on an Engine.
pub(crate) struct Bed {
    pub(crate) docker: Docker,
    pub(crate) server: Server,
    /// Dropped last: the others are in its folder.
    pub(crate) sandbox: Sandbox,
}

impl Bed {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same, whose server has these flags more.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        let sandbox = Sandbox::new();
        let docker = Docker::new(&sandbox).await;
        let server = sandbox.server(flags).await;
        Self { docker, server, sandbox }
    }

    /// An agent that offers these containers.
    pub(crate) async fn agent(&self, flags: &[&str]) -> Agent {
        let socket = self.docker.socket();
        let all = [&["--docker-socket", socket.to_str().unwrap()], flags].concat();
        self.sandbox.agent(&self.server, "host-1", &all).await
    }

    /// Waits until a target of this name is in another life than the process of that pid.
    async fn reborn(&self, name: &str, before: u32) -> v1::Target {
        eventually(&format!("{name} lives again"), async || {
            let targets = self.server.targets().await;
            targets.into_iter().find(|target| target.name == name && !target.pids.contains(&before))
        })
        .await
    }

    /// Orders an action, and waits until it is in a state.
    pub(crate) async fn begin(
        &self,
        target: &str,
        action: v1::Action,
        state: State,
    ) -> tokio::task::JoinHandle<ActionStatus> {
        let (server, target) = (self.server.client().await, target.to_owned());
        let request = v1::UnleashRequest {
            action: Some(action),
            choice: Some(v1::unleash_request::Choice::Target(target)),
            source: "test".to_owned(),
            ..Default::default()
        };
        let mut server = server;
        let mut updates = server.unleash(request).await.unwrap().into_inner();
        let mut status = updates.message().await.unwrap().unwrap();
        while status.state() != state {
            status =
                updates.message().await.unwrap().unwrap_or_else(|| panic!("never {state:?}: {status:?}"));
        }
        tokio::spawn(async move {
            while let Ok(Some(update)) = updates.message().await {
                status = update;
            }
            status
        })
    }

    async fn platform(&self) -> v1::Platform {
        let listed =
            self.server.client().await.list_platforms(v1::ListPlatformsRequest::default()).await.unwrap();
        let platforms = listed.into_inner().platforms;
        platforms.into_iter().find(|platform| platform.platform_type == "DockerPlatform").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_targets_by_name_or_their_own_label_and_as_well_as_their_own_check_says() {
    let bed = Bed::new().await;
    let docker = &bed.docker;
    let _agent = bed.agent(&["--docker", "web-*", "--docker-opt-in"]).await;
    docker.container("other", &[], docker::SCRATCH, &SERVICE);
    docker.container("web-0", &["--label", "chaoskitty=false"], docker::SCRATCH, &SERVICE);
    docker.container("web-1", &["--restart", "always"], docker::SCRATCH, &SERVICE);
    let service = ["--label", "chaoskitty=true", "--label", "com.docker.compose.service=mongo"];
    let check = ["--health-cmd", "cat /ok", "--health-interval", "200ms", "--health-retries", "1"];
    docker.container("db", &[&service[..], &check].concat(), docker::SHELL, &POLITE);

    let web = bed.server.target("web-1").await;
    assert_eq!(web.id, "docker/host-1/web-1");
    assert_eq!(
        (web.platform_type.as_str(), web.aggregation_identifier.as_str(), web.host.as_str()),
        ("DockerPlatform", "kitty/scratch", "host-1")
    );
    assert!(web.cattle && web.health() == Health::Normal, "{web:?}");
    assert_eq!(web.pids, [docker.pid("web-1")]);
    let db = bed.server.target("db").await;
    assert_eq!(db.aggregation_identifier, "mongo");
    assert!(!db.cattle && db.health() == Health::Unknown, "{db:?}");
    docker.must(&["exec", "db", "sh", "-c", ": > /ok"]);
    eventually("its own check finds it well", async || {
        (bed.server.target("db").await.health() == Health::Normal).then_some(())
    })
    .await;

    docker.must(&["rm", "--force", "web-1"]);
    eventually("the roster has only the other one left", async || {
        let names: Vec<_> = bed.server.targets().await.into_iter().map(|target| target.name).collect();
        (names == ["db"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_from_scratch_is_hurt_within_its_own_limits() {
    let bed = Bed::new().await;
    let limits = ["--memory", "128m", "--cpus", "0.5"];
    bed.docker.container("lone", &limits, docker::SCRATCH, &SERVICE);
    let _agent = bed.agent(&["--docker", "lone"]).await;
    bed.server.target("lone").await;
    let pid = bed.docker.pid("lone");
    let unleash = async |action| bed.server.unleash("docker/host-1/lone", action).await;

    // What was started in it later stands still too.
    bed.docker.must(&["exec", "--detach", "lone", "/busybox", "sleep", "3600"]);
    let delay = held(Kind::Delay(Delay::default()), Duration::from_millis(300));
    let Figures::Delay(result) = figures(&unleash(delay).await.unwrap(), State::Reverted) else { panic!() };
    assert_eq!((result.means.as_str(), result.processes), ("freezer", 2));

    let before = cpu_time(pid).unwrap();
    let spin = held(Kind::Cpu(SpinCpu { cores: 0, load: 60 }), 2 * SECOND);
    let Figures::Cpu(result) = figures(&unleash(spin).await.unwrap(), State::Reverted) else { panic!() };
    assert_eq!((result.threads, result.requested_load), (1, 30.0), "60 % of half a core");
    assert!(result.achieved_load > 1.0 && result.achieved_load < 45.0, "{result:?}");
    assert_eq!(cpu_time(pid).unwrap(), before, "the service itself did nothing");
    let more = held(Kind::Cpu(SpinCpu { cores: 1, load: 60 }), SECOND);
    let refused = unleash(more).await.unwrap();
    assert_eq!(refused.problem.unwrap().code, Code::TooMuch.number(), "more than its quota");

    let memory = |mebibytes: u64| held(Kind::Memory(AllocateMemory { size_bytes: mebibytes << 20 }), SECOND);
    let Figures::Memory(result) = figures(&unleash(memory(100)).await.unwrap(), State::Reverted) else {
        panic!()
    };
    assert_eq!((result.resident_bytes, result.returned_bytes), (100 << 20, 100 << 20));
    let refused = unleash(memory(200)).await.unwrap();
    assert_eq!(refused.problem.unwrap().code, Code::TargetLimit.number());
    assert!(is_alive(pid) && bed.docker.pid("lone") == pid, "the service lives on");

    let script = held(Kind::Script(RunScript { name: "cpuBurn.sh".into(), ..RunScript::default() }), SECOND);
    let refused = unleash(script).await.unwrap();
    let problem = refused.problem.unwrap();
    assert_eq!(problem.code, Code::MissingDependency.number(), "{problem:?}");

    let Figures::Kill(result) = figures(&unleash(kill(false)).await.unwrap(), State::Done) else { panic!() };
    assert!(result.ended && result.pids == [pid], "{result:?}");
    // The Engine hears of the end of its container a little later.
    eventually("the Engine has seen its container die of SIGKILL", async || {
        (bed.docker.inspect("lone", "{{.State.Status}} {{.State.ExitCode}}") == "exited 137").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_fault_outlives_its_container() {
    let bed = Bed::new().await;
    bed.docker.container("lone", &[], docker::SHELL, &POLITE);
    let _agent = bed.agent(&["--docker", "lone"]).await;
    bed.server.target("lone").await;
    let script = Kind::Script(RunScript { name: "cpuBurn.sh".into(), ..RunScript::default() });
    let spin = Kind::Cpu(SpinCpu { cores: 1, load: 10 });
    let memory = Kind::Memory(AllocateMemory { size_bytes: 16 << 20 });
    let mut under_way = Vec::new();
    for kind in [script, spin, memory] {
        under_way.push(bed.begin("docker/host-1/lone", held(kind, HOUR), State::Started).await);
    }
    bed.docker.must(&["rm", "--force", "lone"]);
    for fault in under_way {
        let status = fault.await.unwrap();
        assert_eq!(
            (status.state(), status.end_reason()),
            (State::Reverted, EndReason::TargetGone),
            "{status:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_through_the_engine_is_its_owners_wish_and_a_kill_from_the_host_is_a_crash() {
    let bed = Bed::new().await;
    bed.docker.container("lone", &["--restart", "always"], docker::SCRATCH, &SERVICE);
    let _agent = bed.agent(&["--docker", "lone"]).await;
    bed.server.target("lone").await;
    let before = bed.docker.pid("lone");
    figures(&bed.server.unleash("lone", kill(false)).await.unwrap(), State::Done);
    let now = bed.reborn("lone", before).await;
    assert_eq!(bed.docker.inspect("lone", "{{.RestartCount}}"), "1");

    figures(&bed.server.unleash("lone", kill(true)).await.unwrap(), State::Done);
    eventually("it is gone", async || bed.server.targets().await.is_empty().then_some(())).await;
    assert_eq!(bed.docker.inspect("lone", "{{.State.Status}}"), "exited", "and nobody restarts it");
    assert!(!is_alive(now.pids[0]));

    bed.docker.must(&["start", "lone"]);
    let before = bed.reborn("lone", now.pids[0]).await.pids[0];
    let done = bed.server.unleash("lone", at_once(Kind::Restart(Restart {}))).await.unwrap();
    let Figures::Restart(result) = figures(&done, State::Done) else { panic!() };
    assert_eq!((result.pid_before, result.pid_after), (before, bed.docker.pid("lone")));
    assert_ne!(result.pid_after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_container_is_started_again_whoever_dies_meanwhile() {
    let bed = Bed::new().await;
    // Of two groups, so that neither has to be spared.
    let service = |name| format!("com.docker.compose.service={name}");
    bed.docker.container("polite", &["--label", &service("a")], docker::SHELL, &POLITE);
    let slow = ["--label", &service("b"), "--stop-timeout", "6"];
    bed.docker.container("stubborn", &slow, docker::SHELL, &STUBBORN);
    let mut agent = bed.agent(&["--docker", "*"]).await;
    let stop = |duration| held(Kind::Stop(Stop::default()), duration);
    let before = bed.server.target("polite").await.pids[0];
    let done = bed.server.unleash("docker/host-1/polite", stop(SECOND)).await.unwrap();
    let Figures::Stop(result) = figures(&done, State::Reverted) else { panic!() };
    assert_eq!(done.end_reason(), EndReason::Deadline);
    assert_eq!((result.pid_before, result.pid_after), (before, bed.docker.pid("polite")));
    assert!(result.held.unwrap().seconds >= 1, "{result:?}");

    // Its engine's kill is no crash: no restart policy brings it back before its time.
    let before = bed.reborn("polite", before).await.pids[0];
    bed.docker.must(&["update", "--restart", "always", "polite"]);
    let kill = held(Kind::Stop(Stop { kill: true }), HOUR);
    let killed = bed.begin("docker/host-1/polite", kill, State::Started).await;
    assert_eq!(bed.docker.inspect("polite", "{{.State.ExitCode}} {{.State.Running}}"), "137 false");
    for status in bed.server.active().await {
        bed.server.client().await.stop_action(v1::StopActionRequest { id: status.id }).await.unwrap();
    }
    let Figures::Stop(result) = figures(&killed.await.unwrap(), State::Reverted) else { panic!() };
    assert_eq!((result.pid_before, result.pid_after), (before, bed.docker.pid("polite")));

    // In force.
    let before = bed.reborn("polite", before).await.pids[0];
    let _polite = bed.begin("docker/host-1/polite", stop(HOUR), State::Started).await;
    assert_eq!(bed.docker.pid("polite"), 0);
    // And one that is only on its way down.
    let stubborn = bed.server.target("stubborn").await.pids[0];
    let _stubborn = bed.begin("docker/host-1/stubborn", stop(HOUR), State::Accepted).await;
    eventually("the stubborn one is asked to end", async || {
        fs::exists(format!("/proc/{stubborn}/root/asked")).unwrap().then_some(())
    })
    .await;
    agent.process.kill();
    for (name, before) in [("polite", before), ("stubborn", stubborn)] {
        eventually(&format!("the guard has {name} started again"), async || {
            let pid = bed.docker.pid(name);
            (pid != 0 && pid != before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_paused_stays_paused() {
    let bed = Bed::new().await;
    bed.docker.container("lone", &[], docker::SCRATCH, &SERVICE);
    let _agent = bed.agent(&["--docker", "lone"]).await;
    bed.server.target("lone").await;
    bed.docker.must(&["pause", "lone"]);
    eventually("a paused container is not well", async || {
        (bed.server.target("lone").await.health() == Health::Unknown).then_some(())
    })
    .await;
    let refused = bed.server.unleash("lone", held(Kind::Delay(Delay::default()), SECOND)).await.unwrap();
    assert_eq!(refused.state(), State::Refused);
    assert_eq!(refused.problem.unwrap().code, Code::AlreadyInState.number());
    assert_eq!(bed.docker.inspect("lone", "{{.State.Status}}"), "paused");
    bed.docker.must(&["unpause", "lone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_ends_takes_its_targets_along_and_brings_them_back() {
    let mut bed = Bed::new().await;
    bed.docker.container("lone", &["--restart", "always"], docker::SCRATCH, &SERVICE);
    let mut agent = bed.agent(&["--docker", "lone"]).await;
    let before = bed.server.target("lone").await.pids[0];
    let spin = held(Kind::Cpu(SpinCpu { cores: 1, load: 10 }), HOUR);
    let fault = bed.begin("lone", spin, State::Started).await;
    bed.docker.stop().await;
    let status = fault.await.unwrap();
    assert_eq!((status.state(), status.end_reason()), (State::Reverted, EndReason::TargetGone), "{status:?}");
    eventually("its platform has trouble", async || {
        let platform = bed.platform().await;
        let told = platform.problems.iter().any(|problem| problem.contains("Docker does not run"));
        (bed.server.targets().await.is_empty() && told).then_some(())
    })
    .await;
    assert!(agent.process.is_running());

    bed.docker.start().await;
    let target = bed.reborn("lone", before).await;
    assert_eq!(target.health(), Health::Normal);
    eventually("its platform is well", async || {
        let platform = bed.platform().await;
        (platform.health() == PlatformHealth::Ok && platform.problems.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_the_engine_is_or_that_its_socket_may_not_be_used() {
    const NOBODY: u32 = 65534;
    let bed = Bed::new().await;
    bed.docker.container("lone", &[], docker::SCRATCH, &SERVICE);
    // Where somebody else can run it, too.
    let program = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempfile().unwrap();
    fs::copy(bed.sandbox.command("kitty-agent").get_program(), program.path()).unwrap();
    let program = program.into_temp_path();
    let socket = bed.docker.socket();
    let check = |user: u32| {
        let mut command = Command::new(&program);
        command.args(["check", "--docker", "l*", "--docker-socket", socket.to_str().unwrap()]);
        command.uid(user).gid(user).current_dir("/");
        let said = bed.sandbox.finish(command).stdout;
        said.lines().find(|line| line.contains(" docker ")).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let docker = check(0);
    assert!(docker.starts_with("ok") && docker.contains("API") && docker.ends_with("offered: 1"), "{docker}");
    let docker = check(NOBODY);
    assert!(docker.starts_with("missing") && docker.contains("Permission denied"), "{docker}");
    assert!(docker.contains("run the agent as root"), "{docker}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_may_not_be_used_is_told_of_by_platform_list_until_it_may() {
    let bed = Bed::new().await;
    bed.docker.container("lone", &[], docker::SCRATCH, &SERVICE);
    let socket = bed.docker.socket();
    let allow = |mode| fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
    allow(0);
    let flags = ["--docker", "lone", "--docker-socket", socket.to_str().unwrap()];
    let agent = Agent::command(&bed.sandbox, &bed.server.endpoint(), "host-1", &flags);
    // Root as others are: bound to the modes of files.
    let mut bound = Command::new("setpriv");
    bound.args(["--inh-caps=-dac_override", "--bounding-set=-dac_override"]).arg(agent.get_program());
    bound.args(agent.get_args()).current_dir(bed.sandbox.path());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    let mut agent = Process::start("host-1", bound, bed.sandbox.path());

    let list = || bed.sandbox.kittyctl(&bed.server.address(), &["platform", "list"]).stdout;
    let line = eventually("its platform has trouble", async || {
        assert!(agent.is_running(), "{}", agent.stderr());
        let listed = list();
        listed.lines().find(|line| line.contains("Docker") && line.contains("denied")).map(str::to_owned)
    })
    .await;
    assert!(line.contains(socket.to_str().unwrap()) && line.contains("run the agent as root"), "{line}");

    allow(0o660);
    bed.server.target("lone").await;
    eventually("its platform is well", async || (!list().contains("denied")).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_control_groups_is_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path().join("docker.sock");
    let _engine = Engine::without_cgroups(&socket);
    let server = sandbox.server(&[]).await;
    let flags = ["--docker", "*", "--docker-socket", socket.to_str().unwrap()];
    let _agent = sandbox.agent(&server, "host-1", &flags).await;
    eventually("platform list says why", async || {
        let listed = sandbox.kittyctl(&server.address(), &["platform", "list"]).stdout;
        listed.contains("without control groups").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_would_vanish_is_neither_stopped_nor_restarted() {
    let bed = Bed::new().await;
    bed.docker.container("brief", &["--rm"], docker::SHELL, &POLITE);
    let pod = ["--label", "io.kubernetes.pod.uid=1f"];
    bed.docker.container("of-a-pod", &pod, docker::SHELL, &POLITE);
    let _agent = bed.agent(&["--docker", "*"]).await;
    for name in ["brief", "of-a-pod"] {
        let target = bed.server.target(name).await;
        let offered: Vec<_> = target.actions().collect();
        assert!(!offered.contains(&Action::Stop) && !offered.contains(&Action::Restart), "{offered:?}");
        assert!(offered.contains(&Action::Delay) && offered.contains(&Action::Kill), "{offered:?}");
        let before = bed.docker.pid(name);
        for action in [held(Kind::Stop(Stop { kill: true }), SECOND), at_once(Kind::Restart(Restart {}))] {
            let problem = match bed.server.unleash(&target.id, action).await {
                Ok(status) => status.problem.unwrap().hint,
                Err(status) => chaos_kitty::Problem::from(status).hint,
            };
            assert!(problem.contains("gone for good"), "{problem}");
        }
        assert_eq!(bed.docker.pid(name), before, "it was left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_somebody_ends_or_that_has_nothing_to_start_is_told_so() {
    let bed = Bed::new().await;
    for name in ["started", "removed"] {
        let service = format!("com.docker.compose.service={name}");
        bed.docker.container(name, &["--label", &service], docker::SHELL, &POLITE);
    }
    let _agent = bed.agent(&["--docker", "*"]).await;
    let mut under_way = Vec::new();
    for name in ["started", "removed"] {
        let id = bed.server.target(name).await.id;
        under_way.push(bed.begin(&id, held(Kind::Stop(Stop::default()), HOUR), State::Started).await);
    }
    bed.docker.must(&["start", "started"]);
    bed.docker.must(&["rm", "removed"]);
    for (fault, code) in under_way.into_iter().zip([Code::EffectLost, Code::TargetGone]) {
        let status = fault.await.unwrap();
        assert_eq!(status.state(), State::Failed, "{status:?}");
        assert_eq!(status.problem.as_ref().unwrap().code, code.number(), "{status:?}");
    }
    assert!(bed.server.active().await.is_empty(), "nothing is stuck");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_does_nothing_is_told_so() {
    let bed = Bed::new().await;
    // The first process of a container has no default handlers.
    bed.docker.container("deaf", &[], docker::SCRATCH, &SERVICE);
    let _agent = bed.agent(&["--docker", "deaf"]).await;
    let deaf = bed.server.target("deaf").await;
    let term = || at_once(Kind::Kill(Kill { signal: "TERM".to_owned(), ..Kill::default() }));
    let done = bed.server.unleash(&deaf.id, term()).await.unwrap();
    let Figures::Kill(result) = figures(&done, State::Done) else { panic!() };
    assert!(!result.ended, "{result:?}");
    assert!(done.evidence.iter().any(|seen| seen.value.contains("SIGTERM does nothing")), "{done:?}");
}
