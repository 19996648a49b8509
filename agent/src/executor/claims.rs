//! Who holds what: one fault at a time on each resource of each process. Pure.

use std::collections::HashMap;

use chaos_kitty::{Code, Problem};

use crate::{action::Resource, host::process::Process};

/// What can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// `None`: the host.
    pub(super) process: Option<Process>,
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
            let what = key.process.map_or("the host".to_owned(), |process| format!("process {process}"));
            return Err(Problem::new(
                Code::AlreadyHeld,
                format!("the {} of {what} is held by action {holder}", key.resource.name()),
            )
            .hint(format!("wait until it ends, or: kittyctl action stop {holder}")));
        }
        self.held.extend(keys.iter().map(|key| (*key, action.to_owned())));
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
        Key { process: Some(Process { pid, start_time: 1 }), resource }
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
        let later = Key { process: Some(Process { pid: 1, start_time: 2 }), resource: Resource::Cpu };
        claims.claim("b", &[later]).unwrap();
    }
}
