//! How a container is, by what the Engine says of it. Pure.

use bollard::models::{ContainerState, HealthStatusEnum};
use chaos_kitty::v1::target_health::State;

/// The pid of the main process, as the Engine sees it. `None`: it does not run.
pub(super) fn main_pid(state: &ContainerState) -> Option<u32> {
    let runs = state.running == Some(true) && state.restarting != Some(true);
    state.pid.filter(|_| runs).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
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
