//! The suite of the earlier experiment manager's manual, on containers of a real Engine.

use std::collections::BTreeMap;

use chaos_kitty_tests::{docker, eventually, http, manual};
use serde_json::Value;

use crate::docker::{Bed, POLITE};

/// Two groups of three, one of which is named in the manual.
const CONTAINERS: [(&str, &str); 6] = [
    ("ngnix-1", "ngnix"),
    ("ngnix-2", "ngnix"),
    ("ngnix-3", "ngnix"),
    ("mongo-qw93ut", "mongo"),
    ("mongo-8xk2lp", "mongo"),
    ("mongo-zr41vd", "mongo"),
];

/// A fault is held for five seconds; everything else waits for moments only.
const FLAGS: [&str; 8] = [
    "--experiment-tick",
    "100ms",
    "--experiment-maximum",
    "5s",
    "--self-healing-interval",
    "1s",
    "--finalization",
    "100ms",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_manual_finishes_on_containers_and_leaves_one_of_each_group_alone() {
    let bed = Bed::with(&FLAGS).await;
    let _agent = bed.agent(&["--docker", "ngnix-*", "--docker", "mongo-*"]).await;
    for (name, service) in CONTAINERS {
        let service = format!("com.docker.compose.service={service}");
        let options = ["--restart", "always", "--label", &service];
        bed.docker.container(name, &options, docker::SHELL, &POLITE);
    }
    for (name, _) in CONTAINERS {
        bed.server.target(name).await;
    }
    let pids = || CONTAINERS.map(|(name, _)| (name, bed.docker.pid(name)));
    let before = BTreeMap::from(pids());

    let address = bed.server.tcp().await;
    let (code, built) =
        http::json(&address, "POST", "/experiment/build", &manual::suite("DockerPlatform").to_string()).await;
    assert_eq!(code, 200, "{built}");
    let hit = by_method(&built);
    assert_eq!(hit.len(), 3, "{built}");
    assert_eq!(hit["cpuBurn.sh"], "mongo-qw93ut");
    assert!(hit["starveRandomNumberGenerator.sh"].starts_with("mongo-"), "{hit:?}");
    assert!(hit["terminateProcess.sh"].starts_with("ngnix-"), "{hit:?}");

    eventually("all are over", async || {
        let (_, active) = http::json(&address, "GET", "/experiment", "").await;
        active.as_array()?.is_empty().then_some(())
    })
    .await;
    let (_, all) = http::json(&address, "GET", "/experiment?all=true", "").await;
    for experiment in all.as_array().unwrap() {
        assert_eq!(experiment["experimentState"], "FINISHED", "{experiment}");
        // The end of a fault is no healing, and a restart policy needs no help.
        assert_eq!(experiment["wasSelfHealingRequired"], false, "{experiment}");
    }

    let after = BTreeMap::from(pids());
    for (name, _) in CONTAINERS {
        let is_recycled = name == hit["terminateProcess.sh"];
        assert_eq!(before[name] != after[name], is_recycled, "{name}: {hit:?}");
        assert_ne!(after[name], 0, "{name} runs");
    }
}

/// The name of each experiment's container, by the method.
fn by_method(built: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let experiments = built.as_array().unwrap().iter();
    experiments.map(|one| (text(&one["experimentMethodName"]), text(&one["container"]["name"]))).collect()
}
