//! Services of a booted systemd as targets: found by its signals, killed, stopped and restarted through it.

use std::{fs, time::Duration};

use chaos_kitty::{
    Code,
    v1::{
        self, ActionStatus, AllocateMemory, Delay, Kill, Restart, SpinCpu, Stop, action::Kind,
        action_kind::Name as Action, action_result::Kind as Figures, action_state::Name as State,
        target_health::State as Health,
    },
};
use chaos_kitty_tests::{
    Sandbox, Server,
    booted::{Booted, PROGRAMS},
    eventually,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The agent runs in a unit, so that systemd does not take its guard for a part of whatever it is started from.
const AGENT: &str = "agent.service";

const SERVICES: [(&str, &str); 5] = [
    ("mouse.service", "[Service]\nExecStart=/bin/sleep 3600\nRestart=always\nRestartSec=50ms\n"),
    ("mole.service", "[Service]\nExecStart=/bin/sh -c 'sleep 3600 & sleep 3600 & wait'\n"),
    ("vole@.service", "[Service]\nExecStart=/bin/sleep 3600\n"),
    ("owl.service", "[Service]\nExecStart=/bin/sleep 3600\n"),
    ("myth.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"),
];

fn held(kind: Kind, duration: Duration) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(kind) }
}

fn at_once(kind: Kind) -> v1::Action {
    v1::Action { duration: None, kind: Some(kind) }
}

fn figures(status: &ActionStatus, state: State) -> Figures {
    assert_eq!(status.state(), state, "{status:?}");
    status.result.clone().unwrap().kind.unwrap()
}

/// A machine with an agent and services in it, and the server outside.
struct Host {
    machine: Booted,
    server: Server,
}

impl Host {
    async fn new(sandbox: &Sandbox) -> Self {
        let server = sandbox.server(&[]).await;
        let machine = Booted::new(sandbox).await;
        for (name, text) in SERVICES {
            machine.install_unit(name, text);
        }
        let flags = "--server unix:/shared/chaos_kitty.ipc --state /run/agent --name host-1";
        let prey = "--systemd m* --systemd vole@*";
        let agent = format!("[Service]\nExecStart={PROGRAMS}/kitty-agent {flags} {prey}\nKillMode=process\n");
        machine.install_unit(AGENT, &agent);
        machine.must(&["systemctl", "start", "mouse", "mole", "vole@1", "vole@2", "owl", "myth", AGENT]);
        let host = Self { machine, server };
        host.are(&["mole.service", "mouse.service", "vole@1.service", "vole@2.service"]).await;
        host
    }

    /// Waits until exactly these are targets.
    async fn are(&self, names: &[&str]) {
        eventually(&format!("the targets are {names:?}"), async || {
            let targets = self.server.targets().await;
            let mut found: Vec<_> = targets.into_iter().map(|target| target.name).collect();
            found.sort();
            (found == names).then_some(())
        })
        .await;
    }

    async fn unleash(&self, unit: &str, action: v1::Action) -> ActionStatus {
        self.server.unleash(&format!("systemd/host-1/{unit}"), action).await.unwrap()
    }

    fn main_pid(&self, unit: &str) -> u32 {
        self.machine.property(unit, "MainPID").parse().unwrap()
    }

    /// Waits until the roster shows a unit as systemd does.
    async fn current(&self, unit: &str) -> v1::Target {
        eventually(&format!("the roster has {unit} as it is"), async || {
            let pid = self.main_pid(unit);
            let targets = self.server.targets().await;
            let target = targets.into_iter().find(|target| target.name == unit && target.pids == [pid])?;
            (target.health() == Health::Normal).then_some(target)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_targets_and_are_hurt_through_their_service_manager() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    let mouse = host.current("mouse.service").await;
    assert_eq!(
        (mouse.platform_type.as_str(), mouse.aggregation_identifier.as_str()),
        ("SystemdPlatform", "mouse")
    );
    assert!(mouse.cattle, "Restart=always");
    let vole = host.current("vole@1.service").await;
    assert_eq!(vole.aggregation_identifier, "vole", "instances of a template are together");
    assert!(!vole.cattle);

    // They come and go by signals.
    host.machine.must(&["systemctl", "stop", "vole@2"]);
    host.are(&["mole.service", "mouse.service", "vole@1.service"]).await;
    host.machine.must(&["systemctl", "start", "vole@2"]);
    host.are(&["mole.service", "mouse.service", "vole@1.service", "vole@2.service"]).await;

    // The whole unit stands still, children and all.
    let delay = held(Kind::Delay(Delay::default()), Duration::from_millis(300));
    let Figures::Delay(result) = figures(&host.unleash("mole.service", delay).await, State::Reverted) else {
        panic!()
    };
    assert_eq!((result.means.as_str(), result.processes), ("freezer", 3));
    let spin = held(Kind::Cpu(SpinCpu { cores: 1, load: 10 }), SECOND);
    figures(&host.unleash("mole.service", spin).await, State::Reverted);
    let memory = held(Kind::Memory(AllocateMemory { size_bytes: 8 << 20 }), SECOND);
    figures(&host.unleash("mole.service", memory).await, State::Reverted);

    let before = host.main_pid("mouse.service");
    let kill = at_once(Kind::Kill(Kill { signal: "KILL".to_owned(), ..Kill::default() }));
    let Figures::Kill(result) = figures(&host.unleash("mouse.service", kill).await, State::Done) else {
        panic!()
    };
    assert!(result.ended && result.pids == [before], "{result:?}");
    eventually("systemd has restarted it", async || {
        (host.machine.property("mouse.service", "NRestarts") == "1").then_some(())
    })
    .await;
    assert_ne!(host.current("mouse.service").await.pids, [before]);

    // Through systemd, so that its whole cgroup is meant.
    let kill = at_once(Kind::Kill(Kill { signal: "TERM".to_owned(), tree: true, ..Kill::default() }));
    let Figures::Kill(result) = figures(&host.unleash("mole.service", kill).await, State::Done) else {
        panic!()
    };
    assert!(result.ended && result.pids.len() == 3, "{result:?}");
    host.are(&["mouse.service", "vole@1.service", "vole@2.service"]).await;

    let before = host.main_pid("vole@1.service");
    let done = host.unleash("vole@1.service", at_once(Kind::Restart(Restart {}))).await;
    let Figures::Restart(result) = figures(&done, State::Done) else { panic!() };
    assert_eq!((result.pid_before, result.pid_after), (before, host.main_pid("vole@1.service")));
    assert_ne!(result.pid_after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_is_started_again_also_when_the_agent_is_killed() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    let state = || host.machine.property("mouse.service", "ActiveState");
    let before = host.current("mouse.service").await.pids[0];
    let done = host.unleash("mouse.service", held(Kind::Stop(Stop::default()), SECOND)).await;
    let Figures::Stop(result) = figures(&done, State::Reverted) else { panic!() };
    assert_eq!((result.pid_before, result.pid_after), (before, host.main_pid("mouse.service")));
    assert_eq!(state(), "active");
    let during = done.evidence.iter().find(|seen| seen.phase() == v1::evidence::Phase::During).unwrap();
    assert_eq!(during.value, "inactive (dead)");

    let note = "[Service]\nExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >>/run/ends'\n";
    host.machine.drop_in("mouse.service", note);
    host.current("mouse.service").await;
    let request = v1::UnleashRequest {
        action: Some(held(Kind::Stop(Stop { kill: true }), HOUR)),
        choice: Some(v1::unleash_request::Choice::Target("systemd/host-1/mouse.service".to_owned())),
        ..Default::default()
    };
    let mut updates = host.server.client().await.unleash(request).await.unwrap().into_inner();
    while updates.message().await.unwrap().unwrap().state() != State::Started {}
    // It is "failed" where systemd saw its end before the order to stop, else "inactive".
    assert_eq!(host.main_pid("mouse.service"), 0, "{}", state());
    let ends = fs::read_to_string(host.machine.path("/run/ends")).unwrap();
    assert_eq!(ends.lines().next(), Some("KILL"), "it was not asked to end");
    host.machine.must(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", AGENT]);
    eventually("the guard has had it started", async || (state() == "active").then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_owner_froze_stays_frozen_and_check_tells_of_the_bus() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let freezers =
        mounts.map(|at| host.machine.path(&format!("{at}/system.slice/mouse.service/cgroup.freeze")));
    let freezer = freezers.into_iter().find(|freezer| freezer.exists()).unwrap();
    fs::write(&freezer, "1").unwrap();
    let refused = host.unleash("mouse.service", held(Kind::Delay(Delay::default()), SECOND)).await;
    assert_eq!(refused.problem.unwrap().code, Code::AlreadyInState.number());
    assert_eq!(fs::read_to_string(&freezer).unwrap().trim(), "1");
    fs::write(&freezer, "0").unwrap();

    let check = || {
        let said = host.machine.run(&["kitty-agent", "check", "--systemd", "vole@*"]).stdout;
        said.lines().find(|line| line.contains(" systemd ")).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let seen = check();
    assert!(seen.starts_with("ok") && seen.ends_with("services offered: 2"), "{seen}");
    host.machine.must(&["systemctl", "stop", "dbus.socket", "dbus.service"]);
    let seen = check();
    assert!(seen.starts_with("missing") && seen.contains("D-Bus"), "{seen}");
    host.are(&[]).await;
    host.machine.must(&["systemctl", "start", "dbus.socket", "dbus.service"]);
    host.are(&["mole.service", "mouse.service", "vole@1.service", "vole@2.service"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_systemd_would_forget_is_not_stopped() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    host.machine.must(&["systemd-run", "--unit=marten", "--collect", "/bin/sleep", "3600"]);
    let marten = host.current("marten.service").await;
    // A unit whose file is removed while it runs.
    fs::remove_file(host.machine.path("/etc/systemd/system/mole.service")).unwrap();
    host.machine.must(&["systemctl", "daemon-reload"]);
    for name in ["marten.service", "mole.service"] {
        let target = eventually(&format!("{name} is not offered to be stopped"), async || {
            let target = host.server.target(name).await;
            (!target.actions().any(|action| action == Action::Stop)).then_some(target)
        })
        .await;
        assert!(target.actions().any(|action| action == Action::Delay), "{target:?}");
        let before = host.main_pid(name);
        let refused = host.server.unleash(&target.id, held(Kind::Stop(Stop::default()), SECOND)).await;
        let hint = refused.map_or_else(
            |status| chaos_kitty::Problem::from(status).hint,
            |status| status.problem.unwrap().hint,
        );
        assert!(hint.contains("gone for good"), "{hint}");
        assert_eq!(host.main_pid(name), before);
    }
    assert!(!marten.cattle, "nothing starts it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_takes_along_is_started_again_too() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    let dependent =
        |how: &str| format!("[Unit]\n{how}=mouse.service\n[Service]\nExecStart=/bin/sleep 3600\n");
    for (name, how) in [("part.service", "PartOf"), ("bound.service", "BindsTo"), ("idle.service", "PartOf")]
    {
        host.machine.install_unit(name, &dependent(how));
    }
    host.machine.must(&["systemctl", "start", "part", "bound"]);
    host.current("mouse.service").await;
    let done = host.unleash("mouse.service", held(Kind::Stop(Stop::default()), SECOND)).await;
    figures(&done, State::Reverted);
    eventually("all that ran runs again", async || {
        let active = |unit| host.machine.property(unit, "ActiveState") == "active";
        (active("part.service") && active("bound.service")).then_some(())
    })
    .await;
    assert_eq!(host.machine.property("idle.service", "ActiveState"), "inactive", "it did not run before");
}
