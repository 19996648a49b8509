//! A thousand containers, of a simulated Engine.

use chaos_kitty::v1::target_health::State as Health;
use chaos_kitty_tests::{Sandbox, engine::Engine, eventually, process::resident};

const CONTAINERS: usize = 1000;

/// Those that are there before it is looked how much the agent grows: what the program itself needs to see
/// containers is not theirs.
const FIRST: usize = 10;

/// What the agent may keep of each.
const BYTES_EACH: usize = 2 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_containers_cost_little_and_a_change_of_one_is_told_alone() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path().join("docker.sock");
    let mut engine = Engine::new(&socket);
    engine.fill(FIRST);
    let server = sandbox.server(&["--lease", "2s"]).await;
    let log = "info,chaos_kitty_agent::uplink=debug";
    let flags = ["--docker", "shop-*", "--docker-socket", socket.to_str().unwrap(), "--log", log];
    let agent = sandbox.agent(&server, "host-1", &flags).await;
    let told = || -> Vec<_> {
        let log = agent.process.stderr();
        let lines = log.lines().filter_map(|line| line.split_once("targets told "));
        lines.map(|(_, figures)| figures.to_owned()).collect()
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
    are(Health::Normal, FIRST).await;
    settled().await;
    let before = resident(agent.process.pid()).unwrap();
    let told_before = told().len();

    engine.fill(CONTAINERS - FIRST);
    engine.break_off();
    are(Health::Normal, CONTAINERS).await;
    settled().await;
    let grown = resident(agent.process.pid()).unwrap().saturating_sub(before);
    let each = usize::try_from(grown).unwrap() / (CONTAINERS - FIRST);
    println!("{CONTAINERS} containers: {each} bytes each");
    assert!(each < BYTES_EACH, "{grown} bytes more than {before}");
    let all = told().split_off(told_before);
    assert!(all.contains(&format!("upserted={CONTAINERS} removed=0")), "{all:?}");

    let told_before = told().len();
    engine.sicken(7);
    are(Health::Unknown, 1).await;
    assert_eq!(told().split_off(told_before), ["upserted=1 removed=0"]);
}
