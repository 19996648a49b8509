//! Experiments: what a look at 1,000 of them costs the server, how long a suite of 100 criteria takes to be built,
//! and a page of a long history.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and ends with the cause of a failure"
)]

use std::time::{Duration, Instant};

use chaos_kitty::v1::{
    ExperimentCriteria, ExperimentSuite, GetExperimentHistoryRequest, experiment_state::Name as State,
};
use chaos_kitty_benches::{
    cpu,
    figures::{ms, quantile},
    herd::{Herd, PLATFORM},
    run,
};
use chaos_kitty_tests::{Sandbox, Server, eventually, http, process::cpu_time};

const GROUPS: usize = 100;
/// Experiments of each group that are active at a time.
const ACTIVE: usize = 10;
const TICKS: u32 = 200;
const TICK: Duration = Duration::from_millis(100);
const BUILDS: usize = 100;
const SUITES: usize = 100_000;
/// Of each of these.
const CRITERIA: usize = 3;
const PAGES: usize = 200;

fn main() {
    run(async {
        cpu::raise_file_limit();
        tick().await;
        build().await;
        history().await;
    });
}

/// A suite of so many experiments of a method in each of so many groups.
fn suite(groups: usize, method: &str, count: usize) -> ExperimentSuite {
    let criteria = (0..groups).map(|group| ExperimentCriteria {
        container_identifier: format!("group-{group}"),
        experiment_methods: vec![method.to_owned(); count],
        specific_container_targets: Vec::new(),
    });
    ExperimentSuite {
        platform_type: PLATFORM.to_owned(),
        experiment_criteria: criteria.collect(),
        ..ExperimentSuite::default()
    }
}

async fn place(flags: &[&str], members: usize) -> (Sandbox, Server, Herd) {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[&["--log", "error"], flags].concat()).await;
    let herd = Herd::attach(&server.endpoint(), GROUPS, members).await;
    eventually("all targets are there", async || {
        (server.status().await.targets as usize == GROUPS * members).then_some(())
    })
    .await;
    (sandbox, server, herd)
}

async fn tick() {
    // Kills that end nobody: health is looked at from the first millisecond on, and never found.
    let flags = ["--experiment-tick", "100ms", "--experiment-minimum", "1ms", "--experiment-maximum", "59m"];
    let (_sandbox, server, _herd) = place(&flags, ACTIVE + 1).await;
    let idle = used(&server).await;
    server.client().await.build_experiment(suite(GROUPS, "killProcess", ACTIVE)).await.unwrap();
    eventually("all are started", async || {
        let request = chaos_kitty::v1::ListExperimentsRequest { page_size: 1000, ..Default::default() };
        let listed = server.client().await.list_experiments(request).await.unwrap().into_inner().experiments;
        let started = listed.iter().filter(|it| it.experiment_state() == State::Started).count();
        (started == GROUPS * ACTIVE).then_some(())
    })
    .await;
    let busy = used(&server).await;
    println!(
        "a tick over {} experiments: {} ms of the server's processor time (limit: 10 ms)",
        GROUPS * ACTIVE,
        ms(busy.saturating_sub(idle) / TICKS)
    );
}

/// Processor time that the server uses in so many ticks.
async fn used(server: &Server) -> Duration {
    let before = cpu_time(server.process.pid()).unwrap();
    tokio::time::sleep(TICK * TICKS).await;
    cpu_time(server.process.pid()).unwrap() - before
}

async fn build() {
    // They are never begun: only building is measured.
    let (_sandbox, server, _herd) =
        place(&["--experiment-tick", "1h", "--concurrent-suites"], BUILDS + 1).await;
    let address = server.tcp().await;
    let body = serde_json::to_string(&suite(GROUPS, "delay", 1)).unwrap();
    let mut samples = Vec::new();
    for _ in 0..BUILDS {
        let started = Instant::now();
        let (code, answer) = http::json(&address, "POST", "/experiment/build", &body).await;
        samples.push(started.elapsed());
        assert_eq!((code, answer.as_array().map(Vec::len)), (200, Some(GROUPS)), "{answer}");
    }
    println!(
        "POST /experiment/build of {GROUPS} criteria over {} targets: {} ms, p99 {} ms (limit: 50 ms)",
        GROUPS * (BUILDS + 1),
        ms(quantile(&samples, 0.5)),
        ms(quantile(&samples, 0.99))
    );
}

async fn history() {
    let (sandbox, mut server, herd) = place(&["--experiment-tick", "1h"], 2).await;
    server.client().await.build_experiment(suite(CRITERIA, "delay", 1)).await.unwrap();
    server.process.kill();
    drop(herd);
    multiply(&sandbox);
    let server = sandbox.server(&["--log", "error"]).await;
    let mut client = server.client().await;
    let mut request = GetExperimentHistoryRequest { page_size: 100, ..Default::default() };
    let mut samples = Vec::new();
    for page in 0..PAGES {
        let started = Instant::now();
        let history = client.get_experiment_history(request.clone()).await.unwrap().into_inner();
        samples.push(started.elapsed());
        assert_eq!(history.suites.len(), 100, "page {page}");
        request.page_token = history.next_page_token;
    }
    println!(
        "a page of 100 of {SUITES} suites: {} ms, p99 {} ms (limit: 20 ms)",
        ms(quantile(&samples, 0.5)),
        ms(quantile(&samples, 0.99))
    );
}

/// Writes the one suite that the store has a hundred thousand times, an hour apart.
fn multiply(sandbox: &Sandbox) {
    let store = rusqlite::Connection::open(sandbox.path().join("chaos_kitty.db")).unwrap();
    let copies = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {SUITES})
         INSERT INTO suite SELECT at - n * 3600000000, suite, record FROM suite, n"
    );
    store.execute(&copies, []).unwrap();
}
