//! How soon faults end when their agent is killed: from the SIGKILL to the target that runs again (SIGCONT, thaw)
//! and to the stressor that is gone, by the guard alone; idle, and with four busy processes a core. Memory is given
//! back page by page, and so told apart. And what the guard costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chaos_kitty::v1::{
    Action, AllocateMemory, Delay, SpinCpu, UnleashRequest, action::Kind, action_state::Name as State,
    unleash_request::Choice,
};
use chaos_kitty_benches::{
    figures::{ms, quantile, table},
    run,
};
use chaos_kitty_tests::{Agent, Sandbox, Server, process};
use rustix::{process::Signal, process::setpriority_process, thread::gettid};

const ROUNDS: usize = 200;
const MEMORY_ROUNDS: usize = 10;
const MEMORY: u64 = 1 << 30;
/// Busy processes a core, where the machine is to be busy.
const OVERSUBSCRIBED: usize = 4;
const HOUR: Duration = Duration::from_secs(3600);
/// Between two looks at the targets.
const LOOK: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    run(async {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--lease", "60s"]).await;
        let mut rows = Vec::new();
        let mut guard = String::new();
        for busy in [0, OVERSUBSCRIBED * thread::available_parallelism().unwrap().get()] {
            let _load: Vec<_> =
                (0..busy).map(|_| Target::start(&sandbox, "load", "while :; do :; done")).collect();
            let machine = if busy == 0 { "idle" } else { "busy" };
            let mut took = [const { Vec::new() }; 3];
            for _ in 0..ROUNDS {
                let (times, cost) = round(&sandbox, &server).await;
                times.into_iter().zip(&mut took).for_each(|(time, all)| all.push(time));
                guard = cost;
            }
            for (what, took) in ["SIGCONT", "thaw", "kill"].into_iter().zip(&took) {
                rows.push(row(what, machine, took));
            }
        }
        let mut memory = Vec::new();
        for _ in 0..MEMORY_ROUNDS {
            memory.push(memory_round(&sandbox, &server).await);
        }
        rows.push(row("1 GiB", "idle", &memory));
        table(
            "from the SIGKILL of the agent to the end of the fault, ms",
            ["fault", "machine", "p50", "p99", "worst"],
            &rows,
        );
        println!("  limits at p99: 20 idle, 50 busy; memory 150 more a GiB");
        println!("  the guard, holding three faults: {guard} (limits: 3072 and 512)");
    });
}

fn row(what: &str, machine: &str, took: &[Duration]) -> [String; 5] {
    let at = |share| ms(quantile(took, share));
    [what.to_owned(), machine.to_owned(), at(0.5), at(0.99), at(1.0)]
}

/// A process of a name of its own. Killed when dropped.
struct Target(Child);

impl Target {
    fn start(sandbox: &Sandbox, name: &str, script: &str) -> Self {
        let program = sandbox.path().join(name);
        if !program.exists() {
            fs::copy("/bin/sh", &program).unwrap();
        }
        Self(Command::new(program).args(["-c", script]).stdin(Stdio::null()).spawn().unwrap())
    }

    /// One that does nothing.
    fn idle(sandbox: &Sandbox, name: &str) -> Self {
        let program = sandbox.path().join(name);
        if !program.exists() {
            fs::copy("/bin/sleep", &program).unwrap();
        }
        Self(Command::new(program).arg("3600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn id(&self, name: &str) -> String {
        format!("{name}:{}", self.0.id())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A cgroup of its own, where one can be made. Removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn of(target: &Target) -> Self {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists() && root.join("cgroup.controllers").exists());
        let folder = root.expect("cgroups of version 2").join(format!("kitty-bench-{}", target.0.id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), target.0.id().to_string()).unwrap();
        Self(folder)
    }
}

fn is_thawed(cgroup: &Cgroup) -> impl Fn() -> bool + Send + use<> {
    let freeze = cgroup.0.join("cgroup.freeze");
    move || fs::read_to_string(&freeze).unwrap().trim() == "0"
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        process::wait_for("the cgroup is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

/// Three faults on three targets, and the end of their agent. Gives the time to the end of each, and what the
/// guard cost meanwhile.
async fn round(sandbox: &Sandbox, server: &Server) -> ([Duration; 3], String) {
    const NAMES: [&str; 3] = ["stopped", "frozen", "burnt"];
    let (stopped, frozen, burnt) =
        (Target::idle(sandbox, NAMES[0]), Target::idle(sandbox, NAMES[1]), Target::idle(sandbox, NAMES[2]));
    let cgroup = Cgroup::of(&frozen);
    let flags = NAMES.iter().flat_map(|name| ["--process", name]).collect::<Vec<_>>();
    let agent = sandbox.agent(server, "bench", &flags).await;
    begin(server, &stopped.id(NAMES[0]), Kind::Delay(Delay::default())).await;
    begin(server, &frozen.id(NAMES[1]), Kind::Delay(Delay::default())).await;
    begin(server, &burnt.id(NAMES[2]), Kind::Cpu(SpinCpu { cores: 1, load: 1 })).await;
    let cost = cost_of_guard(&agent);
    let stressor = stressor_of(&agent);
    let pid = stopped.0.id();
    let (_agent, times) = measure(
        agent,
        [
            Box::new(move || process::state(pid) != Some('T')),
            Box::new(is_thawed(&cgroup)),
            Box::new(move || !process::is_alive(stressor)),
        ],
    );
    // Before its cgroup.
    drop(frozen);
    (times, cost)
}

async fn memory_round(sandbox: &Sandbox, server: &Server) -> Duration {
    let target = Target::idle(sandbox, "filled");
    let agent = sandbox.agent(server, "bench", &["--process", "filled"]).await;
    begin(server, &target.id("filled"), Kind::Memory(AllocateMemory { size_bytes: MEMORY })).await;
    let stressor = stressor_of(&agent);
    let (_agent, [took]) = measure(agent, [Box::new(move || !process::is_alive(stressor))]);
    took
}

type Ended = Box<dyn Fn() -> bool + Send>;

/// Kills the agent, and looks when each fault has ended. By a thread that comes before all others, since it is not
/// its own waiting that is to be measured.
fn measure<const N: usize>(agent: Agent, ended: [Ended; N]) -> (Agent, [Duration; N]) {
    let measuring = thread::spawn(move || {
        // Where that is not allowed, the figures are the larger for it.
        _ = setpriority_process(Some(gettid()), -20);
        let begun = Instant::now();
        agent.process.signal(Signal::KILL);
        let mut took = [None; N];
        while took.iter().any(Option::is_none) {
            for (took, ended) in took.iter_mut().zip(&ended).filter(|(took, _)| took.is_none()) {
                *took = ended().then(|| begun.elapsed());
            }
            assert!(begun.elapsed() < PATIENCE, "a fault is left: {took:?}");
            thread::sleep(LOOK);
        }
        (agent, took.map(Option::unwrap))
    });
    measuring.join().unwrap()
}

async fn begin(server: &Server, target: &str, kind: Kind) {
    let target = server.target(target).await;
    let request = UnleashRequest {
        action: Some(Action { duration: Some(HOUR.into()), kind: Some(kind) }),
        choice: Some(Choice::Target(target.id)),
        source: "bench".to_owned(),
        ..Default::default()
    };
    let mut updates = server.client().await.unleash(request).await.unwrap().into_inner();
    while let Some(update) = updates.message().await.unwrap() {
        match update.state() {
            State::Started => return,
            State::Admitted | State::Accepted => {}
            _ => panic!("{update:?}"),
        }
    }
}

/// The child of an agent that is not its guard.
fn stressor_of(agent: &Agent) -> u32 {
    let children = process::children(agent.process.pid());
    children.into_iter().find(|pid| comm(*pid) != "kitty-guard").expect("the agent has a stressor")
}

fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// Resident memory of the guard.
fn cost_of_guard(agent: &Agent) -> String {
    let children = process::children(agent.process.pid());
    let guard = children.into_iter().find(|pid| comm(*pid) == "kitty-guard").expect("the agent has a guard");
    let rollup = fs::read_to_string(format!("/proc/{guard}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let value = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        value.trim().trim_end_matches(" kB").to_owned()
    };
    format!("{} KiB resident, {} KiB of it anonymous", field("Rss:"), field("Anonymous:"))
}
