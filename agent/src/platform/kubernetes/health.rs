//! How a pod is, by what the API says of it. Pure.

use chaos_kitty::v1::target_health::State;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The status of the container of that name, or of the first one.
pub(super) fn container<'a>(pod: &'a Pod, name: Option<&str>) -> Option<&'a ContainerStatus> {
    let first = || Some(pod.spec.as_ref()?.containers.first()?.name.as_str());
    let wanted = name.or_else(first)?;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == wanted)
}

/// The id of a container that runs, without the name of its runtime.
pub(super) fn id(container: &ContainerStatus) -> Option<&str> {
    container.state.as_ref()?.running.as_ref()?;
    container.container_id.as_deref()?.split_once("://").map(|(_, id)| id).filter(|id| !id.is_empty())
}

/// Whether it was told to end.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// A pod is well when it is ready.
pub(super) fn health(pod: &Pod) -> State {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
    if is_ready && !is_leaving(pod) { State::Normal } else { State::Unknown }
}

/// The same in words, e.g. "Running (ready)".
pub(super) fn words(pod: &Pod) -> String {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("unknown");
    match health(pod) {
        State::Normal => format!("{phase} (ready)"),
        _ if is_leaving(pod) => format!("{phase} (terminating)"),
        _ => format!("{phase} (not ready)"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn pod(ready: &str, running: bool) -> Pod {
        let state = if running { json!({"running": {}}) } else { json!({"waiting": {}}) };
        from_value(json!({
            "metadata": {"name": "mongo-1"},
            "spec": {"containers": [{"name": "db"}, {"name": "side"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [
                    {"name": "side", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                     "containerID": "docker://b", "state": {"running": {}}},
                    {"name": "db", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                     "containerID": "docker://a", "state": state},
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_well_when_it_is_ready_and_not_leaving() {
        assert_eq!(health(&pod("True", true)), State::Normal);
        assert_eq!(health(&pod("False", true)), State::Unknown);
        let mut leaving: serde_json::Value = serde_json::to_value(pod("True", true)).unwrap();
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let leaving: Pod = from_value(leaving).unwrap();
        assert_eq!((health(&leaving), words(&leaving)), (State::Unknown, "Running (terminating)".into()));
    }

    #[test]
    fn the_container_is_the_named_one_else_the_first_of_the_pods_own_list() {
        let both = pod("True", true);
        let found = |name| container(&both, name).and_then(id).map(str::to_owned);
        assert_eq!(found(None).as_deref(), Some("a"));
        assert_eq!(found(Some("side")).as_deref(), Some("b"));
        assert_eq!(found(Some("none")), None);
        assert_eq!(container(&pod("True", false), None).and_then(id), None, "it does not run");
    }
}
