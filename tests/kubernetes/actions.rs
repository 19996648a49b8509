//! Single actions on pods: through the API, and through the processes on the node.

use std::{process::Command, time::Duration};

use chaos_kitty::{
    Code,
    v1::{
        self, Action, AllocateMemory, Delay, Kill, ScaleDown, SpinCpu, Target, action::Kind,
        action_result::Kind as Figures, action_state::Name as State,
    },
};
use chaos_kitty_tests::{Agent, eventually, process::is_alive};
use serde_json::json;

use crate::bed::Bed;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn held(kind: Kind, duration: Duration) -> Action {
    Action { duration: Some(duration.into()), kind: Some(kind) }
}

fn kill(kill: Kill) -> Action {
    Action { duration: None, kind: Some(Kind::Kill(kill)) }
}

pub(crate) fn figures(status: &v1::ActionStatus, state: State) -> Figures {
    assert_eq!(status.state(), state, "{status:?}");
    status.result.clone().unwrap().kind.unwrap()
}

async fn one_of(bed: &Bed, group: &str, size: usize) -> Target {
    bed.group(group, size).await.swap_remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hurts_processes_hurts_those_of_a_pod_within_its_own_limits() {
    let bed = Bed::new().await;
    bed.workload("Deployment", "till", 1);
    let _agent = bed.agent().await;
    let pod = one_of(&bed, "till", 1).await;
    assert_eq!(pod.labels["namespace"], bed.namespace);

    let paused = bed.server.unleash(&pod.id, held(Kind::Delay(Delay::default()), SECOND)).await.unwrap();
    let Figures::Delay(delay) = figures(&paused, State::Reverted) else { panic!("{paused:?}") };
    assert_eq!(delay.means, "freezer");

    // Its quota is half a CPU.
    let spin = SpinCpu { load: 60, ..SpinCpu::default() };
    let burnt = bed.server.unleash(&pod.id, held(Kind::Cpu(spin), 3 * SECOND)).await.unwrap();
    let Figures::Cpu(cpu) = figures(&burnt, State::Reverted) else { panic!("{burnt:?}") };
    let used = Duration::try_from(cpu.cpu_time.unwrap()).unwrap().as_secs_f64();
    assert!((0.8..=1.0).contains(&used), "0.3 CPU for 3 s: {used}");

    // It may have 128 MiB.
    let memory = |mebibytes: u64| held(Kind::Memory(AllocateMemory { size_bytes: mebibytes << 20 }), SECOND);
    let taken = bed.server.unleash(&pod.id, memory(64)).await.unwrap();
    figures(&taken, State::Reverted);
    let refused = bed.server.unleash(&pod.id, memory(200)).await.unwrap();
    assert_eq!(refused.state(), State::Refused, "{refused:?}");
    assert_eq!(refused.problem.unwrap().code, Code::TargetLimit.number());
    assert!(is_alive(pod.pids[0]), "the service lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_another_life_of_the_same_pod() {
    let bed = Bed::new().await;
    bed.workload("StatefulSet", "till", 1);
    let _agent = bed.agent().await;
    let before = one_of(&bed, "till", 1).await;
    let by_kill = Kill { signal: "KILL".to_owned(), ..Kill::default() };
    let killed = bed.server.unleash("till-0", kill(by_kill)).await.unwrap();
    let Figures::Kill(result) = figures(&killed, State::Done) else { panic!("{killed:?}") };
    assert_eq!((result.pids, result.ended), (before.pids.clone(), true));
    let after = eventually("the pod runs again", async || {
        let pod = bed.server.targets().await.into_iter().find(|target| target.name == "till-0")?;
        (pod.pids != before.pids).then_some(pod)
    })
    .await;
    assert_eq!(after.labels["pod-uid"], before.labels["pod-uid"]);
    assert_ne!(after.incarnation, before.incarnation);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_heeds_the_disruption_budget_and_a_deletion_does_not() {
    let bed = Bed::new().await;
    bed.workload("Deployment", "till", 1);
    bed.create(&json!({
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "till"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "till"}}},
    }));
    let _agent = bed.agent().await;
    let pod = one_of(&bed, "till", 1).await;
    let evict = || kill(Kill { evict: true, ..Kill::default() });
    let refused = bed.server.unleash(&pod.id, evict()).await.unwrap();
    assert_eq!(refused.state(), State::Failed, "{refused:?}");
    let problem = refused.problem.unwrap();
    assert_eq!(problem.code, Code::SupervisorRefused.number());
    assert!(problem.hint.contains("disruption budget"), "{problem:?}");

    let at_once = Kill { signal: "KILL".to_owned(), through_runtime: true, ..Kill::default() };
    let deleted = bed.server.unleash(&pod.id, kill(at_once)).await.unwrap();
    let Figures::Kill(result) = figures(&deleted, State::Done) else { panic!("{deleted:?}") };
    assert!(result.ended, "{deleted:?}");
    eventually("another pod is well", async || {
        let now = bed.group("till", 1).await.swap_remove(0);
        (now.name != pod.name).then_some(())
    })
    .await;

    bed.must(&["delete", "poddisruptionbudget", "till"]);
    let pod = one_of(&bed, "till", 1).await;
    let evicted = bed.server.unleash(&pod.id, evict()).await.unwrap();
    figures(&evicted, State::Done);
}

/// Begins a scale-down of a Deployment of three to one, and gives the agent that holds it.
async fn scaled_down(bed: &Bed) -> Agent {
    bed.workload("Deployment", "till", 3);
    let agent = bed.agent().await;
    let pod = one_of(bed, "till", 3).await;
    let scale = held(Kind::Scale(ScaleDown { replicas: 1 }), HOUR);
    let status = bed.server.started(&pod.id, scale).await;
    let evidence: Vec<_> = status.evidence.iter().map(|seen| seen.value.as_str()).collect();
    assert_eq!(evidence, ["3 wanted, 3 there", "1 wanted, 1 there"]);
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_down_is_put_back_by_the_guard_when_its_agent_is_killed() {
    let bed = Bed::new().await;
    let mut agent = scaled_down(&bed).await;
    agent.process.kill();
    bed.has("deployment/till", "3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_down_is_put_back_by_the_next_start_when_agent_and_guard_are_killed_together() {
    let bed = Bed::new().await;
    let mut agent = scaled_down(&bed).await;
    agent.kill_with_guard();
    assert_eq!(bed.replicas("deployment/till"), "1");
    let _next = bed.agent().await;
    bed.has("deployment/till", "3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_scale_downs_leave_a_workload_as_large_as_it_was() {
    let bed = Bed::new().await;
    bed.workload("Deployment", "till", 4);
    let _agent = bed.agent().await;
    let pods = bed.group("till", 4).await;
    let scale = |replicas, duration| held(Kind::Scale(ScaleDown { replicas }), duration);
    // The first one ends first: what it records is more than what the second one does.
    let both = tokio::join!(bed.server.unleash(&pods[0].id, scale(3, 6 * SECOND)), async {
        bed.has("deployment/till", "3").await;
        let left = bed.group("till", 3).await;
        bed.server.unleash(&left[0].id, scale(2, 8 * SECOND)).await
    });
    for status in [both.0.unwrap(), both.1.unwrap()] {
        figures(&status, State::Reverted);
    }
    assert_eq!(bed.replicas("deployment/till"), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_on_its_node_a_pod_takes_what_the_api_does_and_says_why_not_the_rest() {
    let bed = Bed::new().await;
    bed.workload("Deployment", "till", 2);
    let flags = bed.agent_flags("anywhere = true");
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let command = Agent::command(&bed.sandbox, &bed.server.endpoint(), "central", &flags);
    // Where it sees no processes but its own.
    let mut apart = Command::new("unshare");
    apart
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(command.get_program())
        .args(command.get_args());
    let _agent = chaos_kitty_tests::process::Process::start("central", apart, bed.sandbox.path());
    let pod = one_of(&bed, "till", 2).await;
    assert!(pod.pids.is_empty() && pod.host == "kitty-node", "{pod:?}");

    let refused = bed.server.unleash(&pod.id, held(Kind::Delay(Delay::default()), SECOND)).await;
    let refusal = match refused {
        Ok(status) => format!("{:?}", status.problem),
        Err(status) => status.message().to_owned(),
    };
    assert!(refusal.contains("kitty-node"), "{refusal}");

    let scaled =
        bed.server.unleash(&pod.id, held(Kind::Scale(ScaleDown { replicas: 1 }), SECOND)).await.unwrap();
    let Figures::Scale(scale) = figures(&scaled, State::Reverted) else { panic!("{scaled:?}") };
    assert_eq!((scale.before, scale.during), (2, 1));
    let pod = one_of(&bed, "till", 2).await;
    let at_once = Kill { signal: "KILL".to_owned(), through_runtime: true, ..Kill::default() };
    let deleted = bed.server.unleash(&pod.id, kill(at_once)).await.unwrap();
    figures(&deleted, State::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_jobs_and_pods_that_opted_out_are_no_targets() {
    let bed = Bed::new().await;
    bed.create(&json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": "kitty/shell:1", "imagePullPolicy": "Never", "command": ["sleep", "3600"],
            }],
        }}},
    }));
    bed.pod("shy", "shy");
    bed.must(&["label", "pod", "shy", "chaoskitty=false"]);
    bed.must(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let _agent = bed.agent().await;
    bed.pod("till", "till");
    let targets = bed.group("till", 1).await;
    assert!(!targets[0].cattle, "nobody makes it anew");
    let all: Vec<_> = bed.server.targets().await.into_iter().map(|target| target.name).collect();
    assert_eq!(all, ["till"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_rights_is_told_which_are_missing() {
    let bed = Bed::new().await;
    let config = bed.kubeconfig(&bed.namespace, "default");
    let flags = ["--kubernetes", "*", "--kubeconfig", config.to_str().unwrap()];
    let _agent = bed.sandbox.agent(&bed.server, "node-1", &flags).await;
    eventually("platform list says why no pods are seen", async || {
        let listed = bed.sandbox.kittyctl(&bed.server.address(), &["platform", "list"]);
        listed.stdout.contains("packaging/kubernetes").then_some(())
    })
    .await;
    let mut check = bed.sandbox.command("kitty-agent");
    check.arg("check").args(flags);
    let check = bed.sandbox.finish(check);
    assert!(
        check.stdout.contains("missing  kubernetes") && check.stdout.contains("packaging/kubernetes"),
        "{check}"
    );
}
