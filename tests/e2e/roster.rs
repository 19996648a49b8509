//! A thousand containers, or pods, of something simulated.

use chaos_kitty::v1::target_health::State as Health;
use chaos_kitty_tests::{
    Sandbox, eventually,
    process::resident,
    simulated::{Engine, Kubernetes, Simulated},
};

const ALL: usize = 1000;

/// Those that are seen before it is looked how much the agent grows, in the same two ways: pages of the program that are
/// used for the first time are not theirs.
const FIRST: usize = 10;

/// What the agent may keep of each.
const BYTES_EACH: usize = 2 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_containers_cost_little_and_a_change_of_one_is_told_alone() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path().join("docker.sock");
    let engine = Engine::new(&socket);
    cost_little(&sandbox, engine, &["--docker", "shop-*", "--docker-socket", socket.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_cost_little_and_a_change_of_one_is_told_alone() {
    let sandbox = Sandbox::new();
    let config = sandbox.path().join("kubeconfig");
    let cluster = Kubernetes::new(&config).await;
    cost_little(&sandbox, cluster, &["--kubernetes", "shop", "--kubeconfig", config.to_str().unwrap()]).await;
}

async fn followed(source: &impl Simulated) {
    eventually("the agent follows", async || source.is_followed().then_some(())).await;
}

async fn cost_little(sandbox: &Sandbox, mut source: impl Simulated, flags: &[&str]) {
    source.fill(FIRST / 2);
    let server = sandbox.server(&["--lease", "2s"]).await;
    let log = ["--log", "info,chaos_kitty_agent::uplink=debug"];
    let agent = sandbox.agent(&server, "host-1", &[flags, &log].concat()).await;
    // In each message: how many are new or changed, and how many are gone.
    let told = || -> Vec<(usize, usize)> {
        let figures = |line: &str| {
            let (_, figures) = line.split_once("targets told upserted=")?;
            let (upserted, removed) = figures.split_once(" removed=")?;
            Some((upserted.parse().unwrap(), removed.parse().unwrap()))
        };
        agent.process.stderr().lines().filter_map(figures).collect()
    };
    let settled = async || {
        eventually("memory is given back after the last targets were told", async || {
            let log = agent.process.stderr();
            (log.rfind("memory given back") > log.rfind("targets told")).then_some(())
        })
        .await;
    };
    let are = async |health, count| {
        eventually(&format!("{count} targets are {health:?}"), async || {
            let targets = server.targets().await;
            let found = targets.into_iter().filter(|target| target.health() == health).count();
            (found == count).then_some(())
        })
        .await;
    };
    are(Health::Normal, FIRST / 2).await;
    source.fill(FIRST / 2);
    followed(&source).await;
    source.restart_watches();
    are(Health::Normal, FIRST).await;
    settled().await;
    let before = resident(agent.process.pid()).unwrap();
    let told_before = told().len();

    source.fill(ALL - FIRST);
    followed(&source).await;
    source.restart_watches();
    are(Health::Normal, ALL).await;
    settled().await;
    let grown = resident(agent.process.pid()).unwrap().saturating_sub(before);
    let each = usize::try_from(grown).unwrap() / (ALL - FIRST);
    println!("{ALL} of {flags:?}: {each} bytes each");
    assert!(each < BYTES_EACH, "{grown} bytes more than {before}");
    let upserted: usize = told().split_off(told_before).iter().map(|(upserted, _)| upserted).sum();
    assert!(
        upserted == ALL || upserted == ALL - FIRST,
        "each is told once, or again after it was lost from sight: {upserted}"
    );

    let told_before = told().len();
    source.sicken(7);
    are(Health::Unknown, 1).await;
    assert_eq!(told().split_off(told_before), [(1, 0)]);
}
