//! Who holds what: one fault at a time on each resource of each process. Pure.

use std::{collections::HashMap, fmt};

use chaos_kitty::{Code, Problem};

use crate::{action::Resource, host::process::Process, platform::Subject};

/// Of what something is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Host,
    Process(Process),
    /// By its target id: its processes are elsewhere.
    Pod(String),
}

impl Holder {
    /// What a target is.
    pub(super) fn of(subject: &Subject) -> Self {
        match subject.main {
            Some(main) => Self::Process(main),
            None if subject.pod.is_some() => Self::Pod(subject.target.id.clone()),
            None => Self::Host,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the host"),
            Self::Process(process) => write!(f, "process {process}"),
            Self::Pod(id) => f.write_str(id),
        }
    }
}

/// What can be held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) holder: Holder,
    pub(super) resource: Resource,
}

/// What is held, by which action.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: HashMap<Key, String>,
}

impl Claims {
    /// Takes hold of all, or of none. What the action holds already stays its own.
    pub(super) fn claim(&mut self, action: &str, keys: &[Key]) -> Result<(), Problem> {
        let taken = keys.iter().find_map(|key| {
            let holder = self.held.get(key).filter(|holder| *holder != action)?;
            Some((key, holder))
        });
        if let Some((key, holder)) = taken {
            return Err(Problem::new(
                Code::AlreadyHeld,
                format!("the {} of {} is held by action {holder}", key.resource.name(), key.holder),
            )
            .hint(format!("wait until it ends, or: kittyctl action stop {holder}")));
        }
        self.held.extend(keys.iter().map(|key| (key.clone(), action.to_owned())));
        Ok(())
    }

    /// Lets go of all that an action holds.
    pub(super) fn release(&mut self, action: &str) {
        self.held.retain(|_, holder| holder != action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32, resource: Resource) -> Key {
        Key { holder: Holder::Process(Process { pid, start_time: 1 }), resource }
    }

    #[test]
    fn one_fault_at_a_time_holds_a_resource_of_a_process() {
        let mut claims = Claims::default();
        claims.claim("a", &[key(1, Resource::RunState), key(2, Resource::RunState)]).unwrap();
        let refused =
            claims.claim("b", &[key(3, Resource::RunState), key(2, Resource::RunState)]).unwrap_err();
        assert_eq!(refused.code, Code::AlreadyHeld);
        assert!(refused.message.contains("action a"));
        claims.claim("b", &[key(2, Resource::Cpu)]).unwrap();
        claims.release("a");
        claims.claim("b", &[key(3, Resource::RunState), key(2, Resource::RunState)]).unwrap();
    }

    #[test]
    fn a_refused_claim_holds_nothing() {
        let mut claims = Claims::default();
        claims.claim("a", &[key(2, Resource::RunState)]).unwrap();
        claims.claim("b", &[key(1, Resource::RunState), key(2, Resource::RunState)]).unwrap_err();
        claims.claim("c", &[key(1, Resource::RunState)]).unwrap();
    }

    #[test]
    fn another_incarnation_of_a_pid_is_another_process() {
        let mut claims = Claims::default();
        claims.claim("a", &[key(1, Resource::Cpu)]).unwrap();
        let later =
            Key { holder: Holder::Process(Process { pid: 1, start_time: 2 }), resource: Resource::Cpu };
        claims.claim("b", &[later]).unwrap();
    }
}
