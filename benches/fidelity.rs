//! Whether a fault is what was asked for: pauses in length, processor load in time burnt, also as a share of a
//! container's quota, memory in pages. Each is read twice: by the target or the kernel, and from the agent's own
//! result.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::{fs, time::Duration};

use chaos_kitty::v1::{
    Action, ActionResult, ActionStatus, AllocateMemory, Delay, SpinCpu, action, action_result,
    action_state::Name as State,
};
use chaos_kitty_benches::{
    figures::{ms, quantile, table},
    mouse::{self, Mouse},
    run, wanted,
};
use chaos_kitty_tests::{
    Sandbox, Server,
    docker::{self, Docker},
    eventually, process,
};

const PAUSES: usize = 200;
const PAUSE: Duration = Duration::from_millis(500);
const BURN: Duration = Duration::from_secs(10);
const LOAD: u32 = 50;
const SHARE: u32 = 60;
const SIZE: u64 = 256 << 20;
const HOLD: Duration = Duration::from_secs(3);

fn main() {
    mouse::scurry_if_asked();
    run(async {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--log", "warn"]).await;
        let mouse = Mouse::start(&sandbox);
        let agent = sandbox.agent(&server, "bench", &["--process", mouse::NAME, "--host-target"]).await;
        if wanted("pause") {
            pauses(&server, &mouse).await;
        }
        if wanted("cpu") {
            burn(&server, agent.process.pid()).await;
        }
        if wanted("memory") {
            fill(&server, agent.process.pid()).await;
        }
        if wanted("quota") {
            share(&sandbox, &server).await;
        }
    });
}

async fn pauses(server: &Server, mouse: &Mouse) {
    let target = eventually("the mouse is a target", async || {
        server.targets().await.into_iter().find(|target| target.aggregation_identifier == mouse::NAME)
    })
    .await;
    let mut said = Vec::new();
    for _ in 0..PAUSES {
        let result = unleash(server, &target.id, PAUSE, action::Kind::Delay(Delay::default())).await;
        let Some(action_result::Kind::Delay(delay)) = result.kind else { panic!("{result:?}") };
        said.push(delay.held.unwrap().try_into().unwrap());
    }
    let felt = mouse.pauses(PAUSES).await;
    let row = |by: &str, held: &[Duration]| {
        let errors: Vec<_> = held.iter().map(|held| held.abs_diff(PAUSE)).collect();
        let early = held.iter().filter(|held| **held < PAUSE).count();
        [
            by.to_owned(),
            ms(quantile(&errors, 0.5)),
            ms(quantile(&errors, 0.95)),
            ms(quantile(&errors, 1.0)),
            early.to_string(),
        ]
    };
    table(
        "200 pauses of 500 ms: error of the time held, ms",
        ["by", "median", "p95", "worst", "early"],
        &[row("the target's own clock", &felt), row("the agent's result", &said)],
    );
    println!("  limits: median 0.5, p95 1, none early");
}

async fn burn(server: &Server, agent: u32) {
    let spin = action::Kind::Cpu(SpinCpu { cores: 1, load: LOAD });
    let (result, seen) = tokio::join!(unleash(server, "host/bench", BURN, spin), async {
        let mut most = Duration::ZERO;
        let started = tokio::time::Instant::now();
        while started.elapsed() < BURN + Duration::from_millis(500) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            most =
                most.max(descendants(agent).into_iter().filter_map(processor_time).max().unwrap_or_default());
        }
        most
    });
    let Some(action_result::Kind::Cpu(cpu)) = result.kind else { panic!("{result:?}") };
    let said = Duration::try_from(cpu.cpu_time.unwrap()).unwrap();
    let row = |by: &str, time: Duration| [by.to_owned(), format!("{:.3}", time.as_secs_f64())];
    table(
        "one core at 50 % for 10 s: processor time burnt, s",
        ["by", "time"],
        &[row("the kernel's schedstat, looked at every 20 ms", seen), row("the stressor's own clock", said)],
    );
    println!("  limit: 5.0 +- 0.05");
}

async fn fill(server: &Server, agent: u32) {
    let memory = action::Kind::Memory(AllocateMemory { size_bytes: SIZE });
    let (result, (pid, resident)) = tokio::join!(unleash(server, "host/bench", HOLD, memory), async {
        eventually("the memory is resident", async || {
            let largest = descendants(agent).into_iter().filter_map(|pid| Some((pid, largest_mapping(pid)?)));
            largest.max_by_key(|(_, bytes)| *bytes).filter(|(_, bytes)| *bytes >= SIZE)
        })
        .await
    });
    let Some(action_result::Kind::Memory(said)) = result.kind else { panic!("{result:?}") };
    let left = process::resident(pid).filter(|_| process::is_alive(pid)).unwrap_or_default().min(resident);
    let row =
        |by: &str, resident: u64, returned: u64| [by.to_owned(), resident.to_string(), returned.to_string()];
    table(
        &format!("256 MiB ({SIZE} bytes): bytes"),
        ["by", "resident", "given back"],
        &[
            row("the kernel's smaps", resident, resident - left),
            row("the agent's result", said.resident_bytes, said.returned_bytes),
        ],
    );
    println!("  limit: to the page, all of it given back");
}

/// Percent of a container's own quota, not of a core.
async fn share(sandbox: &Sandbox, server: &Server) {
    let docker = Docker::new(sandbox).await;
    docker.container("half", &["--cpus", "0.5"], docker::SCRATCH, &["/busybox", "sleep", "3600"]);
    let socket = docker.socket();
    let flags = ["--docker", "half", "--docker-socket", socket.to_str().unwrap()];
    let _agent = sandbox.agent(server, "docker", &flags).await;
    server.target("half").await;
    let before = docker.cpu_usage("half");
    let spin = action::Kind::Cpu(SpinCpu { cores: 0, load: SHARE });
    let result = unleash(server, "docker/docker/half", BURN, spin).await;
    let used = docker.cpu_usage("half") - before;
    let Some(action_result::Kind::Cpu(cpu)) = result.kind else { panic!("{result:?}") };
    let said = Duration::try_from(cpu.cpu_time.unwrap()).unwrap();
    let row =
        |by: &str, time: Duration| [by.to_owned(), format!("{:.3}", time.as_secs_f64() / BURN.as_secs_f64())];
    table(
        "a container limited to 0.5 CPU at 60 % for 10 s: CPU used",
        ["by", "CPU"],
        &[row("its cgroup's accounting", used), row("the stressor's own clock", said)],
    );
    println!("  limit: 0.30 +- 0.01");
}

/// One action from its order to its end, which must be a good one.
async fn unleash(server: &Server, target: &str, duration: Duration, kind: action::Kind) -> ActionResult {
    let action = Action { duration: Some(duration.into()), kind: Some(kind) };
    let status: ActionStatus = server.unleash(target, action).await.unwrap();
    assert_eq!(status.state(), State::Reverted, "{status:?}");
    status.result.unwrap()
}

/// The children of a process, their children, and so on.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = process::children(pid);
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(process::children(*pid));
        next += 1;
    }
    found
}

/// Time on a processor, to the nanosecond, over all threads.
fn processor_time(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let time = |thread: fs::DirEntry| {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    Some(threads.filter_map(|thread| time(thread.ok()?)).sum())
}

/// Resident bytes of the process's largest mapping.
fn largest_mapping(pid: u32) -> Option<u64> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    let resident = smaps.lines().filter_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
    resident.filter_map(|kilobytes| kilobytes.parse::<u64>().ok()).max().map(|kilobytes| kilobytes * 1024)
}
