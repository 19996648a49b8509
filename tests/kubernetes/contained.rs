//! Agents in pods, by the manifest that users apply.

use std::{fs, path::Path, time::Duration};

use chaos_kitty::v1::{Delay, ScaleDown, SpinCpu, action::Kind, action_state::Name as State};
use chaos_kitty_tests::{
    built,
    docker::{Docker, lay_out_project},
    eventually,
    process::children,
};

use crate::{
    actions::{figures, held},
    bed::{Bed, cluster},
};

const HOUR: Duration = Duration::from_secs(3600);

/// The agents of the manifest, with what a user puts in. They end with it.
struct Agents<'a>(&'a Bed);

impl<'a> Agents<'a> {
    async fn apply(bed: &'a Bed) -> Self {
        const MANIFEST: &str =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/kubernetes/node-agents.yaml");
        let mut manifest = fs::read_to_string(MANIFEST).unwrap();
        let ports = fs::read_to_string(cluster().join("ports")).unwrap();
        let port = ports.split_whitespace().find_map(|port| port.strip_prefix("api=")).unwrap();
        // The cluster has no network of its own: what is reached is the node's.
        let api = format!(
            "env:\n            - {{name: KUBERNETES_SERVICE_HOST, value: 127.0.0.1}}\n            \
             - {{name: KUBERNETES_SERVICE_PORT, value: {port:?}}}"
        );
        for (theirs, ours) in [
            ("chaos-kitty:latest", "kitty/all:1"),
            ("https://kittyd.chaos-kitty.svc:8443", &bed.server.tcp().await),
            ("--kubernetes=shop-*", &format!("--kubernetes={}", bed.namespace)),
            ("hostPID: true", "hostPID: true\n      hostNetwork: true"),
            ("/var/lib/chaos-kitty, type", &format!("{}, type", bed.sandbox.path().join("node").display())),
            ("env:", &api),
        ] {
            assert!(manifest.contains(theirs), "{theirs}: {manifest}");
            manifest = manifest.replacen(theirs, ours, 1);
        }
        let file = bed.sandbox.path().join("node-agents.yaml");
        fs::write(&file, manifest).unwrap();
        bed.must(&["--namespace", "chaos-kitty", "apply", "--filename", file.to_str().unwrap()]);
        Self(bed)
    }
}

impl Drop for Agents<'_> {
    fn drop(&mut self) {
        self.0.kubectl(&["--namespace", "chaos-kitty", "delete", "daemonset", "kitty-agent"]);
        let pods = ["--namespace", "chaos-kitty", "delete", "pods", "--all"];
        self.0.kubectl(&[&pods[..], &["--grace-period", "0", "--force"]].concat());
    }
}

/// Makes the image of README on the node.
fn make_image(folder: &Path) -> Docker {
    fs::create_dir(folder).unwrap();
    let docker = Docker::of_others(cluster().join("docker.sock"), folder.to_owned());
    docker.make_base("kitty/base:1", &built("kittyd"));
    lay_out_project(folder);
    let base = ["build", "--build-arg", "BASE=kitty/base:1", "--tag", "kitty/all:1"];
    docker.must(&[&base[..], &[folder.to_str().unwrap()]].concat());
    docker
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_of_the_manifest_treat_the_pods_of_their_nodes_and_leave_nothing_when_killed() {
    let bed = Bed::new().await;
    let docker = make_image(&bed.sandbox.path().join("image"));
    bed.workload("Deployment", "till", 2);
    let _agents = Agents::apply(&bed).await;
    let pods = bed.group("till", 2).await;
    let spin = held(Kind::Cpu(SpinCpu { load: 20, ..SpinCpu::default() }), Duration::from_secs(1));
    figures(&bed.server.unleash(&pods[0].id, spin).await.unwrap(), State::Reverted);

    let delay = held(Kind::Delay(Delay::default()), HOUR);
    bed.server.started(&pods[0].id, delay).await;
    let standing_still = children(pods[0].pids[0]);
    let agent = docker.must(&["ps", "--quiet", "--filter", "name=k8s_agent_kitty-agent"]);
    docker.must(&["kill", "--signal", "KILL", &agent]);
    eventually("the pod goes on", async || (children(pods[0].pids[0]) != standing_still).then_some(())).await;

    let pods = bed.group("till", 2).await;
    bed.server.started(&pods[0].id, held(Kind::Scale(ScaleDown { replicas: 1 }), HOUR)).await;
    assert_eq!(bed.replicas("deployment/till"), "1");
    let agent = docker.must(&["ps", "--quiet", "--filter", "name=k8s_agent_kitty-agent"]);
    docker.must(&["kill", "--signal", "KILL", &agent]);
    bed.has("deployment/till", "2").await;
}
