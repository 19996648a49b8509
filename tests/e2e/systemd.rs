//! The packaged units in a booted systemd: whatever the service manager does to them, nothing is left behind.

use std::{fs, path::Path};

use chaos_kitty_tests::{
    Sandbox,
    booted::{Booted, PROGRAMS},
    eventually,
    process::{is_alive, name, state},
};

const AGENT: &str = "kitty-agent.service";
const SERVER: &str = "kittyd.service";

const LOG: &str = "[Service]\nStandardError=append:/shared/agent.log\n";

/// What is told to the agent of this host: the file that is packaged, and its prey.
const PREY: &str = "
[[process]]
name = 'mouse'
process = 'mouse'

[[process]]
name = 'mole'
process = 'mole'

[[process]]
name = 'vole'
process = 'vole'
cattle = true
";

/// One of each kind of undo: a cgroup that is frozen, a process that is stopped, stressors, and a script.
const FAULTS: [&str; 5] = [
    "delay --target process/host-1/mouse --duration 10m",
    "memory --target process/host-1/mole --size 32MiB --hold 10m",
    "cpu --target process/host-1/mole --cores 1 --load 20 --duration 10m",
    "delay --target process/host-1/mole --duration 10m",
    "script cpuBurn.sh --target process/host-1/vole --duration 10m",
];

fn packaged(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A machine on which the server, the agent and the prey run as services.
struct Host(Booted);

impl Host {
    async fn new(sandbox: &Sandbox) -> Self {
        let machine = Booted::new(sandbox).await;
        let write = |path: &str, text: &str| {
            let path = machine.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for file in ["kittyd.toml", "policy.toml"] {
            write(&format!("/etc/chaos-kitty/{file}"), &packaged(file));
        }
        let agent = packaged("agent.toml") + "\nname = 'host-1'\n" + PREY;
        write("/etc/chaos-kitty/agent.toml", &agent);
        write("/usr/lib/sysusers.d/chaos-kitty.conf", &packaged("systemd/chaos-kitty.sysusers"));
        write("/usr/lib/tmpfiles.d/chaos-kitty.conf", &packaged("systemd/chaos-kitty.tmpfiles"));
        machine.must(&["systemd-sysusers"]);
        machine.must(&["systemd-tmpfiles", "--create", "chaos-kitty.conf"]);
        for program in ["kittyd", "kitty-agent", "kitty-guard", "kittyctl"] {
            machine.must(&["ln", "-s", &format!("{PROGRAMS}/{program}"), "/usr/bin/"]);
        }
        for animal in ["mouse", "mole", "vole"] {
            machine.must(&["cp", "/usr/bin/sleep", &format!("/usr/bin/{animal}")]);
        }
        machine.install_unit("mouse.service", "[Service]\nExecStart=/usr/bin/mouse 600\n");
        let two = "[Service]\nExecStart=/bin/sh -c 'mole 600 & exec vole 600'\n";
        machine.install_unit("vole.service", two);
        for unit in [AGENT, SERVER] {
            machine.install_unit(unit, &packaged(&format!("systemd/{unit}")));
        }
        machine.drop_in(AGENT, LOG);
        let host = Self(machine);
        // Returns when all are ready.
        host.0.must(&["systemctl", "start", "mouse", "vole", AGENT, SERVER]);
        host.is_up().await;
        host
    }

    /// Waits until both services run and the agent has shown its prey to the server.
    async fn is_up(&self) {
        eventually("server and agent are up, with three targets", async || {
            let up = [AGENT, SERVER].iter().all(|unit| self.0.property(unit, "ActiveState") == "active");
            let targets = self.0.run(&["kittyctl", "target", "list", "--output", "name"]);
            (up && targets.code == 0 && targets.stdout.lines().count() == 3).then_some(())
        })
        .await;
    }

    /// Brings every fault into force.
    async fn hurt(&self) {
        assert_eq!(self.left(), [""; 0], "before");
        for fault in FAULTS {
            let argv: Vec<_> =
                ["kittyctl", "unleash"].into_iter().chain(fault.split(' ')).chain(["--no-wait"]).collect();
            self.0.must(&argv);
        }
        eventually("all of it is in force", async || {
            let states = self.actions("STARTED");
            (states == FAULTS.len()).then_some(())
        })
        .await;
        let left = self.left().join("\n");
        for sign in ["mouse.service is frozen", "mole is stopped", "kitty-stress runs", "kitty-script-"] {
            assert!(left.contains(sign), "no {sign} in\n{left}");
        }
    }

    /// How many of the last actions are in a state.
    fn actions(&self, state: &str) -> usize {
        let list = self.0.must(&["kittyctl", "action", "list"]);
        list.lines().skip(1).take(FAULTS.len()).filter(|line| line.contains(state)).count()
    }

    /// Everything that a fault leaves behind if nobody puts it back, as it is seen from outside of the machine.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in self.0.pids().into_iter().filter(|pid| is_alive(*pid)) {
            match &*name(pid) {
                stopped if state(pid) == Some('T') => left.push(format!("{stopped} is stopped")),
                left_over @ ("kitty-stress" | "sh") => left.push(format!("{left_over} runs")),
                _ => {}
            }
        }
        look(&self.0.path("/sys/fs/cgroup"), &mut left);
        left.sort();
        left.dedup();
        left
    }

    async fn nothing_is_left(&self) {
        let mut left = Vec::new();
        let gone = eventually("nothing is left", async || {
            left = self.left();
            left.is_empty().then_some(())
        });
        gone.await;
    }

    fn agent(&self) -> String {
        self.0.property(AGENT, "MainPID")
    }
}

/// Cgroups that are frozen, and those of scripts.
fn look(folder: &Path, left: &mut Vec<String>) {
    let says = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    if says("cgroup.freeze").trim() == "1" || says("freezer.self_freezing").trim() == "1" {
        left.push(format!("{} is frozen", folder.display()));
    }
    if folder.to_string_lossy().contains("kitty-script-") {
        left.push(format!("{} is there", folder.display()));
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            look(&entry.path(), left);
        }
    }
}

#[tokio::test]
async fn what_the_service_manager_does_to_the_agent_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;

    host.hurt().await;
    host.0.must(&["systemctl", "stop", AGENT]);
    assert_eq!(host.left(), [""; 0], "it has put everything back before it was stopped");
    assert_eq!(host.0.property(AGENT, "Result"), "success");
    assert_eq!(host.actions("REVERTED"), FAULTS.len());
    host.0.must(&["systemctl", "start", AGENT]);
    host.is_up().await;

    host.hurt().await;
    let before = host.agent();
    host.0.must(&["systemctl", "restart", AGENT]);
    assert_eq!(host.left(), [""; 0], "it has put everything back before it was started again");
    assert_ne!(host.agent(), before);
    host.is_up().await;

    host.hurt().await;
    let before = host.agent();
    host.0.must(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", AGENT]);
    host.nothing_is_left().await;
    host.is_up().await;
    assert_ne!(host.agent(), before);

    // With its guard, its stressors and the one who runs the script; and no other agent comes.
    host.0.drop_in(AGENT, &format!("{LOG}Restart=no\n"));
    host.hurt().await;
    host.0.must(&["systemctl", "kill", "--signal=KILL", AGENT]);
    host.nothing_is_left().await;
    assert_eq!(host.agent(), "0");

    // A watchdog that does not fire on a busy machine, and does not keep the test.
    host.0.drop_in(AGENT, &format!("{LOG}WatchdogSec=3s\n"));
    host.0.must(&["systemctl", "start", AGENT]);
    host.is_up().await;
    host.hurt().await;
    let before = host.agent();
    host.0.must(&["systemctl", "kill", "--signal=STOP", "--kill-whom=main", AGENT]);
    host.nothing_is_left().await;
    eventually("the watchdog has had another agent started", async || {
        let now = host.agent();
        (now != before && now != "0").then_some(())
    })
    .await;
    host.is_up().await;
}

#[tokio::test]
async fn a_server_that_is_restarted_disturbs_nothing_and_a_host_that_is_shut_down_puts_back_first() {
    let sandbox = Sandbox::new();
    let host = Host::new(&sandbox).await;
    host.hurt().await;
    let (agent, held) = (host.agent(), host.left());
    // The time-out of the unit, 15 s, would make it a failure.
    host.0.must(&["systemctl", "stop", SERVER]);
    assert_eq!(host.0.property(SERVER, "Result"), "success");
    host.0.must(&["systemctl", "start", SERVER]);
    host.is_up().await;
    eventually("the new server knows what is in force", async || {
        (host.actions("STARTED") == FAULTS.len()).then_some(())
    })
    .await;
    assert_eq!((host.agent(), host.left()), (agent, held), "an upgrade within the lease disturbs nothing");

    host.0.power_off().await;
    let log = fs::read_to_string(sandbox.path().join("agent.log")).unwrap();
    // Because of the shutdown, or because the target was shut down first.
    let put_back = log.lines().filter(|line| line.contains("state=Reverted")).count();
    assert_eq!(put_back, FAULTS.len(), "{log}");
}
