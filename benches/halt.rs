//! Halt: 1,000 faults in force over 100 real agents on this machine, all reverted with evidence; from the call to
//! its summary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use chaos_kitty::v1::{
    Action, Delay, HaltRequest, ResumeRequest, Selector, UnleashRequest, action::Kind,
    action_state::Name as State, evidence::Phase, halt_progress, unleash_request::Choice,
};
use chaos_kitty_benches::{cpu, run};
use chaos_kitty_tests::{
    Agent, Sandbox, Server,
    process::{Process, state},
};
use futures_util::{StreamExt, stream};

const AGENTS: usize = 100;
const FAULTS: usize = 10;
/// One of each group is left alone.
const TARGETS: usize = FAULTS + 1;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(180);
const GOAL: Duration = Duration::from_secs(2);

fn main() {
    run(async {
        cpu::raise_file_limit();
        let sandbox = Sandbox::new();
        let flags = ["--log", "warn", "--lease", "5m", "--min-survivors", "1"];
        let server = sandbox.server(&flags).await;
        let sleepers: Vec<Process> = (0..AGENTS).flat_map(|number| sleepers(&sandbox, number)).collect();
        let _agents: Vec<Agent> = stream::iter(0..AGENTS)
            .map(async |number| {
                let rule = rule(number);
                sandbox.agent(&server, &rule, &["--process", &rule, "--log", "warn"]).await
            })
            .buffer_unordered(4)
            .collect()
            .await;
        ready("all targets are seen", async || {
            // Their number: the list itself comes in pages.
            (server.status().await.targets as usize == AGENTS * TARGETS).then_some(())
        })
        .await;
        println!(
            "halt: {} faults in force over {AGENTS} agents, all reverted with evidence",
            AGENTS * FAULTS
        );
        for round in 1..=ROUNDS {
            hurt(&server).await;
            let (took, summary) = halt(&server).await;
            let left = sleepers.iter().filter(|sleeper| state(sleeper.pid()) == Some('T')).count();
            println!(
                "  round {round}: {:>4} ms, left {left} (goal: below {} ms)",
                took.as_millis(),
                GOAL.as_millis()
            );
            assert_eq!((summary, left), (AGENTS * FAULTS, 0));
            server.client().await.resume(ResumeRequest::default()).await.unwrap();
        }
    });
}

/// As the tests' `eventually`, with the patience that a hundred agents on one machine need.
async fn ready(what: &str, condition: impl AsyncFn() -> Option<()>) {
    let polling = async {
        while condition().await.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

fn rule(number: usize) -> String {
    format!("halted-{number}")
}

fn sleepers(sandbox: &Sandbox, number: usize) -> Vec<Process> {
    let program = sandbox.path().join(rule(number));
    fs::copy("/bin/sleep", &program).unwrap();
    let start = |_| {
        let mut command = Command::new(&program);
        command.arg("3600");
        Process::start(&format!("sleeper-{number}"), command, sandbox.path())
    };
    (0..TARGETS).map(start).collect()
}

/// Has every agent hold its faults. Targets that were let go a moment ago may not be seen as healthy yet, so
/// what is missing is asked for again.
async fn hurt(server: &Server) {
    ready("all faults are in force", async || {
        let active = server.status().await.active;
        stream::iter(0..AGENTS)
            .for_each_concurrent(8, async |number| {
                let rule = rule(number);
                let held = active.iter().filter(|action| action.aggregation_identifier == rule).count();
                if held < FAULTS {
                    // Refused as long as nobody of the group is healthy.
                    let _ = server.client().await.unleash(pause(rule, FAULTS - held)).await;
                }
            })
            .await;
        let started = active.iter().filter(|action| action.state() == State::Started).count();
        (started == AGENTS * FAULTS).then_some(())
    })
    .await;
}

fn pause(group: String, count: usize) -> UnleashRequest {
    let selector = Selector { aggregation_identifier: group, ..Selector::default() };
    UnleashRequest {
        action: Some(Action {
            duration: Some(Duration::from_secs(600).into()),
            kind: Some(Kind::Delay(Delay::default())),
        }),
        choice: Some(Choice::Selector(selector)),
        count: Some(u32::try_from(count).unwrap()),
        source: "bench".to_owned(),
        ..UnleashRequest::default()
    }
}

/// How long a halt took, and how many faults it reverted with evidence of it.
async fn halt(server: &Server) -> (Duration, usize) {
    let mut client = server.client().await;
    let started = Instant::now();
    let mut progress = client.halt(HaltRequest::default()).await.unwrap().into_inner();
    let mut reverted = 0;
    while let Some(message) = progress.message().await.unwrap() {
        match message.kind.unwrap() {
            halt_progress::Kind::Action(action) => {
                let seen = action.evidence.iter().any(|evidence| evidence.phase() == Phase::After);
                reverted += usize::from(action.state() == State::Reverted && seen);
            }
            halt_progress::Kind::Summary(summary) => {
                assert_eq!((summary.left, summary.unreached.len()), (0, 0), "{summary:?}");
                return (started.elapsed(), reverted);
            }
        }
    }
    panic!("a halt ends with its summary");
}
