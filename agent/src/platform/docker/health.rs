//! How a container is, by what the Engine says of it. Pure.

use bollard::models::{ContainerInspectResponse, ContainerState, HealthStatusEnum};
use chaos_kitty::v1::target_health::State;

/// The pid of the main process, as the Engine sees it. `None`: it does not run.
pub(super) fn main_pid(state: &ContainerState) -> Option<u32> {
    let runs = state.running == Some(true) && state.restarting != Some(true);
    state.pid.filter(|_| runs).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

/// Why a container could not be started again once it has ended. `None`: it can.
pub(super) fn vanishes(container: &ContainerInspectResponse) -> Option<&'static str> {
    /// Labels that orchestrators give to what is theirs.
    const REPLACED: [(&str, &str); 4] = [
        ("io.kubernetes.pod.uid", "it is of a Kubernetes pod, whose node replaces and removes what ends"),
        ("com.docker.swarm.task.id", "it is of a Swarm service, which replaces and removes what ends"),
        ("com.hashicorp.nomad.alloc_id", "it is of a Nomad job, which replaces and removes what ends"),
        ("com.amazonaws.ecs.task-arn", "it is of an ECS task, which replaces and removes what ends"),
    ];
    if container.host_config.as_ref().is_some_and(|host| host.auto_remove == Some(true)) {
        return Some("it was run with --rm, so its engine removes it when it ends");
    }
    let labels = container.config.as_ref().and_then(|config| config.labels.as_ref())?;
    REPLACED.iter().find(|(label, _)| labels.contains_key(*label)).map(|(_, why)| *why)
}

/// Whether a container that runs is well: by its own health check where it has one.
pub(super) fn health(state: &ContainerState) -> State {
    match own_check(state) {
        _ if state.paused == Some(true) => State::Unknown,
        None | Some(HealthStatusEnum::HEALTHY) => State::Normal,
        Some(_) => State::Unknown,
    }
}

/// The same in words, e.g. "running (healthy)".
pub(super) fn words(state: &ContainerState) -> String {
    let status = state.status.map_or("unknown".to_owned(), |status| status.to_string());
    match (own_check(state), main_pid(state), state.exit_code) {
        (Some(check), Some(_), _) => format!("{status} ({check})"),
        (_, None, Some(code)) => format!("{status} (exit code {code})"),
        _ => status,
    }
}

/// What its own health check says. `None`: it has none.
fn own_check(state: &ContainerState) -> Option<HealthStatusEnum> {
    let status = state.health.as_ref()?.status?;
    (!matches!(status, HealthStatusEnum::EMPTY | HealthStatusEnum::NONE)).then_some(status)
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerStateStatusEnum as Status, Health};

    use super::*;

    fn running(check: Option<HealthStatusEnum>) -> ContainerState {
        let health = check.map(|status| Health { status: Some(status), ..Health::default() });
        ContainerState {
            status: Some(Status::RUNNING),
            running: Some(true),
            pid: Some(7),
            health,
            ..ContainerState::default()
        }
    }

    #[test]
    fn its_own_health_check_says_whether_a_container_is_well() {
        use HealthStatusEnum as Check;
        assert_eq!(health(&running(None)), State::Normal);
        assert_eq!(health(&running(Some(Check::NONE))), State::Normal);
        assert_eq!(health(&running(Some(Check::HEALTHY))), State::Normal);
        assert_eq!(health(&running(Some(Check::STARTING))), State::Unknown);
        assert_eq!(health(&running(Some(Check::UNHEALTHY))), State::Unknown);
        assert_eq!(words(&running(Some(Check::UNHEALTHY))), "running (unhealthy)");
        let paused = ContainerState { paused: Some(true), ..running(Some(Check::HEALTHY)) };
        assert_eq!((health(&paused), main_pid(&paused)), (State::Unknown, Some(7)));
    }

    #[test]
    fn what_its_engine_or_an_orchestrator_removes_can_not_be_started_again() {
        use bollard::models::{ContainerConfig, HostConfig};
        let labelled = |label: &str| ContainerInspectResponse {
            config: Some(ContainerConfig {
                labels: Some([(label.to_owned(), "x".to_owned())].into()),
                ..ContainerConfig::default()
            }),
            host_config: Some(HostConfig { auto_remove: Some(false), ..HostConfig::default() }),
            ..ContainerInspectResponse::default()
        };
        assert_eq!(vanishes(&labelled("com.docker.compose.service")), None);
        assert!(vanishes(&labelled("io.kubernetes.pod.uid")).unwrap().contains("Kubernetes"));
        let host_config = Some(HostConfig { auto_remove: Some(true), ..HostConfig::default() });
        let removed = ContainerInspectResponse { host_config, ..ContainerInspectResponse::default() };
        assert!(vanishes(&removed).unwrap().contains("--rm"));
    }

    #[test]
    fn what_does_not_run_has_no_main_process() {
        let restarting = ContainerState { restarting: Some(true), ..running(None) };
        let exited = ContainerState {
            status: Some(Status::EXITED),
            running: Some(false),
            pid: Some(0),
            exit_code: Some(137),
            ..ContainerState::default()
        };
        assert_eq!((main_pid(&restarting), main_pid(&exited)), (None, None));
        assert_eq!(words(&exited), "exited (exit code 137)");
    }
}
