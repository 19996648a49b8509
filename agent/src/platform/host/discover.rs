//! What the agent's host is.

use std::fs;

use chaos_kitty::v1::{self, action_kind::Name};
use sysinfo::System;

use super::{HostPlatform, Owner, Platform as _};
use crate::{
    host::cgroup::room_below,
    platform::{Subject, support},
};

/// What is known of a host.
#[derive(Debug)]
pub(super) struct Facts {
    boot_id: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
}

impl Facts {
    /// This host's.
    pub(super) fn read() -> Self {
        let memory = System::new().map(|mut system| {
            system.refresh_memory();
            system.total_memory()
        });
        Self {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory.unwrap_or_default(),
            kernel: System::kernel_version().unwrap_or_default(),
        }
    }
}

/// The host as a target. The agent's own labels stand above the facts.
pub(super) fn host(owner: &Owner, facts: &Facts) -> Subject {
    let known = [
        ("cores", facts.cores.to_string()),
        ("memory_bytes", facts.memory_bytes.to_string()),
        ("kernel", facts.kernel.clone()),
    ];
    let mut labels: std::collections::BTreeMap<_, _> =
        known.map(|(name, value)| (name.to_owned(), value)).into();
    labels.extend(owner.labels.clone());
    let runs_scripts = room_below(None).is_ok_and(|room| room.is_some());
    let offered = support::offered(HostPlatform::TYPE).iter();
    let offered = offered.filter(|&&name| name != Name::Script || runs_scripts);
    let target = v1::Target {
        id: format!("host/{}", owner.host),
        incarnation: facts.boot_id.clone(),
        platform_type: HostPlatform::TYPE.to_owned(),
        aggregation_identifier: owner.labels.get("group").cloned().unwrap_or_default(),
        name: owner.host.clone(),
        agent_id: owner.agent_id.clone(),
        host: owner.host.clone(),
        health: v1::target_health::State::Normal.into(),
        actions: offered.map(|&name| name.into()).collect(),
        labels,
        ..Default::default()
    };
    Subject { target, ..Subject::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_host_is_named_grouped_and_described() {
        let labels =
            BTreeMap::from([("group".to_owned(), "web".to_owned()), ("cores".to_owned(), "own".to_owned())]);
        let owner = Owner { agent_id: "a1".into(), host: "web-1".into(), labels };
        let facts = Facts::read();
        let target = host(&owner, &facts).target;
        assert_eq!(target.id, "host/web-1");
        assert_eq!(target.aggregation_identifier, "web");
        assert_eq!(target.incarnation.len(), 36, "a boot id: {}", target.incarnation);
        assert_eq!(target.labels["cores"], "own", "the agent's labels win");
        assert!(target.labels["memory_bytes"].parse::<u64>().unwrap() > 0);
        assert!(target.pids.is_empty());
    }
}
