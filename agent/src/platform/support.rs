//! Which platform offers which action: one table.

use chaos_kitty::{
    Code, Problem,
    v1::{Kill, action_kind::Name},
};

use crate::host::{
    cgroup::{Cgroup, Extent},
    rights,
};

use super::{
    Platform, docker::DockerPlatform, host::HostPlatform, kubernetes::KubernetesPlatform,
    process::ProcessPlatform, systemd::SystemdPlatform,
};

/// What can be done to a host.
const HOST: &[Name] = &[Name::Memory, Name::Cpu, Name::Script];

/// What can be done to a process.
const PROCESS: &[Name] = &[Name::Delay, Name::Kill, Name::Memory, Name::Cpu, Name::Gc, Name::Script];

/// What can be done to what somebody runs, and starts again: a unit, a container.
const SUPERVISED: &[Name] =
    &[Name::Delay, Name::Kill, Name::Memory, Name::Cpu, Name::Gc, Name::Script, Name::Restart, Name::Stop];

/// What can be done to a pod. One that is gone does not come back, its owner makes another: so it is killed, not stopped or
/// restarted.
const POD: &[Name] = &[Name::Delay, Name::Kill, Name::Memory, Name::Cpu, Name::Gc, Name::Script, Name::Scale];

/// The actions that a pod takes: by its processes of this host (`None`: there are none), whether its owner has a number
/// of replicas, and whether anything makes another one when it is deleted.
pub(super) fn of_pod(
    here: Option<&Extent>,
    has_size: bool,
    is_made_anew: bool,
) -> impl Iterator<Item = Name> {
    POD.iter().copied().filter(move |name| match (name, here) {
        (Name::Kill, None) => is_made_anew,
        (Name::Scale, _) => has_size,
        (_, None) => false,
        (_, Some(extent)) => is_allowed(KubernetesPlatform::TYPE, *name, extent),
    })
}

/// The actions that targets of a platform take.
pub fn offered(platform_type: &str) -> &'static [Name] {
    match platform_type {
        HostPlatform::TYPE => HOST,
        ProcessPlatform::TYPE => PROCESS,
        KubernetesPlatform::TYPE => POD,
        SystemdPlatform::TYPE | DockerPlatform::TYPE => SUPERVISED,
        _ => &[],
    }
}

/// Whether this agent has the rights that an action takes on a target's processes. What an API or a service manager
/// does is theirs to allow.
pub(super) fn is_allowed(platform_type: &str, action: Name, extent: &Extent) -> bool {
    let main = extent.main;
    match action {
        Name::Delay => {
            rights::may_signal(main)
                || extent.freezers().is_ok_and(|all| all.iter().any(Cgroup::can_be_frozen))
        }
        Name::Kill => platform_type != ProcessPlatform::TYPE || rights::may_signal(main),
        Name::Memory | Name::Cpu => rights::may_join(main),
        Name::Gc => rights::may_signal(main) && rights::may_look_into(main),
        Name::Script => rights::may_enter(main),
        _ => true,
    }
}

/// The actions that a target takes which somebody runs: what would be gone for good is not ended.
pub(super) fn of_supervised(
    platform_type: &str,
    extent: &Extent,
    comes_back: bool,
) -> impl Iterator<Item = Name> {
    offered(platform_type).iter().copied().filter(move |name| {
        (comes_back || !matches!(name, Name::Restart | Name::Stop))
            && is_allowed(platform_type, *name, extent)
    })
}

/// Whether whoever runs the target sends the signal. A unit's service manager always does: it knows the unit's
/// processes, and restarts it whoever killed it. An engine does only when told, since it then takes the end for
/// its owner's wish.
///
/// # Errors
/// Nobody runs the target, or its engine can not do it.
pub fn kills_through_supervisor(platform_type: &str, kill: &Kill) -> Result<bool, Problem> {
    match platform_type {
        SystemdPlatform::TYPE => Ok(true),
        DockerPlatform::TYPE if kill.through_runtime && kill.tree => {
            Err(Problem::invalid("action.kill.tree", "an engine signals the main process only")
                .hint("leave out one of through_runtime and tree"))
        }
        DockerPlatform::TYPE => Ok(kill.through_runtime),
        _ if kill.through_runtime => {
            Err(Problem::new(Code::Unsupported, "only a container or pod is run by what could kill it")
                .hint("leave through_runtime out"))
        }
        _ => Ok(false),
    }
}

/// Refuses what a platform does not offer, naming what does.
///
/// # Errors
/// [`Code::Unsupported`].
pub fn check(platform_type: &str, action: Name) -> Result<(), Problem> {
    if offered(platform_type).contains(&action) {
        return Ok(());
    }
    let action_name = action.word();
    let kind = platform_type.strip_suffix("Platform").unwrap_or(platform_type).to_lowercase();
    let hint = match (action, platform_type) {
        (Name::Error, _) => {
            "only code inside a service can fail its requests: use the worker SDK in it".to_owned()
        }
        (_, HostPlatform::TYPE) => {
            format!("name a process or worker of the host; a host takes {}", list(HOST))
        }
        _ => format!("it takes {}", list(offered(platform_type))),
    };
    Err(Problem::new(Code::Unsupported, format!("{action_name} is not possible on a {kind}")).hint(hint))
}

fn list(actions: &[Name]) -> String {
    actions.iter().map(|name| name.word()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLATFORMS: [&str; 5] = [
        HostPlatform::TYPE,
        ProcessPlatform::TYPE,
        SystemdPlatform::TYPE,
        DockerPlatform::TYPE,
        KubernetesPlatform::TYPE,
    ];

    #[test]
    fn only_what_somebody_runs_is_killed_through_whom() {
        let through = Kill { through_runtime: true, ..Kill::default() };
        let kills = kills_through_supervisor;
        assert_eq!(kills(DockerPlatform::TYPE, &through), Ok(true));
        assert_eq!(kills(DockerPlatform::TYPE, &Kill::default()), Ok(false));
        assert_eq!(kills(SystemdPlatform::TYPE, &Kill::default()), Ok(true));
        assert_eq!(kills(ProcessPlatform::TYPE, &through).unwrap_err().code, Code::Unsupported);
        let both = Kill { tree: true, ..through };
        assert_eq!(kills(DockerPlatform::TYPE, &both).unwrap_err().code, Code::InvalidArgument);
    }

    #[test]
    fn errors_are_refused_everywhere_with_the_sdk_named_as_the_way() {
        for platform in PLATFORMS {
            let problem = check(platform, Name::Error).unwrap_err();
            assert_eq!(problem.code, Code::Unsupported);
            assert!(problem.hint.contains("worker SDK"), "{problem}");
        }
    }

    #[test]
    fn what_is_offered_is_not_refused() {
        for platform in PLATFORMS {
            assert!(offered(platform).iter().all(|&action| check(platform, action).is_ok()));
        }
        assert_eq!(check(HostPlatform::TYPE, Name::Delay).unwrap_err().code, Code::Unsupported);
        assert_eq!(check("Other", Name::Cpu).unwrap_err().code, Code::Unsupported);
    }
}
