//! Experiments on pods: the manual's suite, and those that only Kubernetes has.

use std::collections::{BTreeMap, BTreeSet};

use chaos_kitty_tests::{eventually, http, manual};
use serde_json::{Value, json};

use crate::bed::{ApiServerAway, Bed, suite};

/// A small node takes its time to start pods.
fn patient_scale_down() -> Value {
    let mut document = suite("till", "scaleDown");
    document["methodParameters"] = json!({"scaleDown": {"selfHealingRetries": 90}});
    document
}

fn all_finished(experiments: &[Value]) {
    for experiment in experiments {
        assert_eq!(experiment["experimentState"], "FINISHED", "{experiment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_the_manual_finishes_on_pods_and_leaves_one_of_each_group_alone() {
    // Long enough for the node to start a container again, whatever else it does.
    let bed = Bed::whose_faults_last("20s").await;
    bed.workload("Deployment", "ngnix", 3);
    // It is adopted: a pod with a name that somebody chose, and that is made anew by its owner.
    bed.pod("mongo-qw93ut", "mongo");
    bed.workload("ReplicaSet", "mongo", 3);
    let _agent = bed.agent().await;
    let lives = async || {
        let mut lives = BTreeMap::new();
        for group in ["ngnix", "mongo"] {
            let targets = bed.group(group, 3).await;
            lives.extend(targets.into_iter().map(|target| (target.name, target.incarnation)));
        }
        lives
    };
    let before = lives().await;
    assert!(before.contains_key("mongo-qw93ut"), "{before:?}");

    let built = bed.build(&manual::suite("KubernetesPlatform")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hit: BTreeMap<_, _> = built
        .iter()
        .map(|one| (text(&one["experimentMethodName"]), text(&one["container"]["name"])))
        .collect();
    assert_eq!(hit.len(), 3, "{built:?}");
    assert_eq!(hit["cpuBurn.sh"], "mongo-qw93ut");
    let over = bed.over().await;
    all_finished(&over);
    for experiment in &over {
        // The end of a fault is no healing, and what the node recycles needs no help.
        assert_eq!(experiment["wasSelfHealingRequired"], false, "{experiment}");
    }
    let after = lives().await;
    for (name, life) in &before {
        let is_recycled = *name == hit["terminateProcess.sh"];
        assert_eq!(after.get(name) != Some(life), is_recycled, "{name}: {hit:?}, {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_down_is_put_back_though_the_server_is_killed_meanwhile() {
    for (kind, workload) in [("Deployment", "deployment/till"), ("StatefulSet", "statefulset/till")] {
        let mut bed = Bed::new().await;
        bed.workload(kind, "till", 3);
        let _agent = bed.agent().await;
        bed.group("till", 3).await;
        bed.build(&patient_scale_down()).await;
        bed.has(workload, "1").await;
        bed.group("till", 1).await;
        bed.server.process.kill();
        bed.restart_server().await;
        bed.has(workload, "3").await;
        bed.group("till", 3).await;
        let over = bed.over().await;
        assert_eq!(over.len(), 1);
        all_finished(&over);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_is_made_anew_by_its_deployment_or_stateful_set() {
    let bed = Bed::new().await;
    for (kind, group) in [("Deployment", "front"), ("StatefulSet", "middle")] {
        bed.workload(kind, group, 2);
    }
    let _agent = bed.agent().await;
    is_made_anew(&bed, "front").await;
    is_made_anew(&bed, "middle").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_deleted_is_made_anew_by_its_daemon_set() {
    let bed = Bed::new().await;
    // Of a DaemonSet there is one pod on the one node. With another's in the same group it has a survivor.
    bed.workload("DaemonSet", "left", 1);
    bed.workload("DaemonSet", "right", 1);
    let flags = bed.agent_flags("group = \"back\"");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let _agent = bed.sandbox.agent(&bed.server, "node-1", &flags).await;
    is_made_anew(&bed, "back").await;
}

/// Deletes one of two pods by an experiment, and sees another in its place.
async fn is_made_anew(bed: &Bed, group: &str) {
    let uids = async || -> BTreeSet<_> {
        let targets = bed.group(group, 2).await;
        targets.into_iter().map(|target| target.labels["pod-uid"].clone()).collect()
    };
    let before = uids().await;
    let mut document = suite(group, "deletePod");
    document["methodParameters"] = json!({"deletePod": {"minimumDuration": "1s", "maximumDuration": "90s"}});
    let built = bed.build(&document).await;
    let over = bed.over().await;
    let mine = over.iter().find(|one| one["id"] == built[0]["id"]).unwrap();
    assert_eq!(
        (&mine["experimentState"], &mine["wasSelfHealingRequired"]),
        (&json!("FINISHED"), &json!(false)),
        "{mine}"
    );
    assert_eq!(before.intersection(&uids().await).count(), 1, "{group}: one of them is another pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_goes_on_when_the_api_server_is_away_as_its_fault_ends() {
    let bed = Bed::new().await;
    bed.workload("Deployment", "till", 3);
    let _agent = bed.agent().await;
    bed.group("till", 3).await;
    let built = bed.build(&patient_scale_down()).await;
    let (id, address) = (built[0]["id"].as_str().unwrap(), bed.server.tcp().await);
    let is_in = async |wanted: &str| {
        eventually(&format!("the experiment is {wanted}"), async || {
            let (_, experiment) = http::json(&address, "GET", &format!("/experiment/{id}"), "").await;
            (experiment["experimentState"] == wanted).then_some(())
        })
        .await;
    };
    is_in("STARTED").await;
    let away = ApiServerAway::new();
    is_in("SELF_HEALING").await;
    drop(away);
    bed.has("deployment/till", "3").await;
    bed.group("till", 3).await;
    all_finished(&bed.over().await);
}
