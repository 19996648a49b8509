//! What users of the earlier experiment manager do with curl, on real processes.

use std::{collections::BTreeSet, fs};

use chaos_kitty_tests::{Sandbox, eventually, http};
use serde_json::{Value, json};

use crate::experiment::Place;

async fn get(address: &str, path: &str) -> Value {
    let (code, answer) = http::json(address, "GET", path, "").await;
    assert_eq!(code, 200, "{path}: {answer}");
    answer
}

/// What a call answers that is no JSON.
async fn word(address: &str, method: &str, path: &str) -> String {
    let (code, answer) = http::request(address, method, path, &[], "").await.unwrap();
    assert_eq!(code, 200, "{path}: {answer}");
    answer
}

async fn all_are_over(address: &str) {
    eventually("no experiment is under way", async || {
        get(address, "/experiment").await.as_array()?.is_empty().then_some(())
    })
    .await;
}

/// Names of the targets that were hit.
fn hit(built: &Value) -> BTreeSet<&str> {
    built.as_array().unwrap().iter().filter_map(|one| one["container"]["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_its_manual_creates_three_experiments_and_its_history_creates_the_like_again() {
    let mut place = Place::new("kitty-curl", false, &[]).await;
    // Enough of them for two suites: only the first one is in the way of the second.
    place.alone(7).await;
    let address = place.server.tcp().await;
    let named = place.server.targets().await[0].name.clone();
    let suite = json!({ "platformType": "ProcessPlatform", "experimentCriteria": [{
        "containerIdentifier": "kitty-curl",
        "experimentMethods": ["delay", "spinCpu", "delay"],
        "specificContainerTargets": [named],
    }], "seed": 7 });
    let (code, built) = http::json(&address, "POST", "/experiment/build", &suite.to_string()).await;
    assert_eq!((code, hit(&built).len()), (200, 3), "{built}");
    assert_eq!(built[0]["container"]["name"], named.as_str());
    assert_eq!(
        (&built[0]["experimentState"], &built[0]["wasSelfHealingRequired"]),
        (&json!("CREATED"), &Value::Null)
    );
    let busy = http::json(&address, "POST", "/experiment/build", &suite.to_string()).await;
    assert_eq!((busy.0, &busy.1["code"]), (409, &json!(13006)));
    let counted: u64 = get(&address, "/experiment/stats/countbystate")
        .await
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(counted, 3);
    all_are_over(&address).await;

    let history = get(&address, "/experiment/history").await;
    let (time, again) = history.as_object().unwrap().iter().next().unwrap();
    assert_eq!(time.len(), "2019-08-29T12:55:31.139495Z".len(), "{time}");
    let record = get(&address, &format!("/experiment/history/{time}")).await;
    assert_eq!(record["experiments"].as_array().map(Vec::len), Some(3), "{record}");
    let (code, rebuilt) = http::json(&address, "POST", "/experiment/build", &again.to_string()).await;
    assert_eq!((code, hit(&rebuilt)), (200, hit(&built)), "with one seed, the same targets");
    all_are_over(&address).await;
    assert_eq!(get(&address, "/experiment/history").await.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(get(&address, "/experiment?all=true").await.as_array().map(Vec::len), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_needs_a_platform_that_there_is_and_targets_of_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    for (platform, refusal) in [("AwsEC2Platform", (404, 12004)), ("KubernetesPlatform", (409, 13004))] {
        let criteria = json!([{"containerIdentifier": "nginx", "experimentMethods": ["cpuBurn.sh"]}]);
        let suite = json!({"platformType": platform, "experimentCriteria": criteria}).to_string();
        let (code, answer) = http::json(&server.tcp().await, "POST", "/experiment/build", &suite).await;
        assert_eq!((code, &answer["code"]), (refusal.0, &json!(refusal.1)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_started_on_by_the_number_that_the_roster_shows() {
    let mut place = Place::harmless("kitty-number", &["--step-timeout", "2s"]).await;
    place.alone(2).await;
    let address = place.server.tcp().await;
    let platforms = get(&address, "/platform").await;
    let target = &platforms[0]["roster"][1];
    let path = format!("/experiment/start/{}", target["identity"]);
    let (code, started) = http::json(&address, "POST", &path, "").await;
    assert_eq!((code, hit(&started)), (200, BTreeSet::from([target["name"].as_str().unwrap()])), "{started}");
    all_are_over(&address).await;
    let (code, answer) = http::json(&address, "POST", "/experiment/start/4294967295", "").await;
    assert_eq!((code, &answer["code"]), (404, &json!(13007)));
    assert_eq!(word(&address, "POST", "/admin/state?state=PAUSED").await, "");
    let (code, answer) = http::json(&address, "POST", "/experiment/start", "").await;
    assert_eq!((code, &answer["code"]), (409, &json!(61014)));
    assert_eq!(get(&address, "/admin/state").await, "PAUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_experiments_run_while_they_are_switched_on_and_leave_one_of_each_group() {
    let flags = [
        "--step-timeout",
        "2s",
        "--holidays",
        "NONSTOP",
        "--automated-mean",
        "100ms",
        "--automated-probability",
        "1",
        "--automated-backoff",
        "1ms",
    ];
    let mut place = Place::harmless("kitty-auto", &flags).await;
    place.alone(3).await;
    let address = place.server.tcp().await;
    assert_eq!(get(&address, "/experiment/automated").await, false);
    assert_eq!(word(&address, "POST", "/experiment/automated").await, "ok");
    eventually("two suites were started", async || {
        (get(&address, "/experiment/history").await.as_object()?.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(word(&address, "DELETE", "/experiment/automated").await, "ok");
    let schedule = get(&address, "/experiment/schedule").await;
    assert_eq!(
        (&schedule["automated"], &schedule["platforms"][0]["calendar"]),
        (&json!(false), &json!("NONSTOP"))
    );
    all_are_over(&address).await;
    let history = get(&address, "/experiment/history").await;
    for (time, suite) in history.as_object().unwrap() {
        let methods = suite["experimentCriteria"][0]["experimentMethods"].as_array().map(Vec::len);
        assert_eq!(methods, Some(2), "{time}: {suite}");
        assert_eq!(get(&address, &format!("/experiment/history/{time}")).await["automatic"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_of_platforms_and_the_backoff_come_from_the_file_and_from_calls() {
    let sandbox = Sandbox::new();
    let config = sandbox.path().join("kittyd.toml");
    let text = "holidays = \"CZ\"\ntime-zone = \"Europe/Prague\"\n[[platform]]\nname = \"HostPlatform\"\nholidays = \"NONSTOP\"\n\
                [[webhook]]\nurl = \"http://127.0.0.1:1/none\"\n";
    fs::write(&config, text).unwrap();
    let server = sandbox.server(&["--config", config.to_str().unwrap()]).await;
    let agent = sandbox.agent(&server, "host-1", &["--host-target"]).await;
    server.target("host-1").await;
    let address = server.tcp().await;
    assert_eq!(word(&address, "PATCH", "/experiment/backoff?backoffDuration=PT1H15M45S").await, "");
    let schedule = get(&address, "/experiment/schedule").await;
    assert_eq!(
        (&schedule["backoff"], &schedule["platforms"][0]["calendar"]),
        (&json!("4545s"), &json!("NONSTOP"))
    );
    drop(agent);
}
