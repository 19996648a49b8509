//! What the server is told of a target besides what its platform knows: what the owner of the host keeps from it, and
//! what it has of its own. It is seen when the target is told of; an order is looked at again when it comes.

use chaos_kitty::{
    script::Own,
    v1::{Target, target},
};

use super::Policy;
use crate::{
    host::own,
    platform::{Platform as _, host::HostPlatform, listed::Listed},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Offer {
    policy: Policy,
}

impl Offer {
    /// What this policy leaves.
    pub const fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// The target as the server is told of it.
    pub fn told(&self, listed: &Listed) -> Target {
        let mut target = listed.target();
        self.withhold(&mut target);
        let main = listed.main();
        // What has no process here is done by somebody else.
        if main.is_some() || target.platform_type == HostPlatform::TYPE {
            let has = own::of(main);
            target.own = Some(target::Own {
                memory_limit: has.contains(&Own::MemoryLimit),
                process_limit: has.contains(&Own::ProcessLimit),
                disk: has.contains(&Own::Disk),
                network: has.contains(&Own::Network),
                mounts: has.contains(&Own::Mounts),
            });
        }
        target
    }

    /// Takes away what the policy forbids whatever its parameters are.
    fn withhold(&self, target: &mut Target) {
        let refused = |action| self.policy.allows_on(action, target).err().map(|problem| (action, problem));
        let withheld: Vec<_> = target.actions().filter_map(refused).collect();
        target.actions.retain(|action| withheld.iter().all(|(name, _)| i32::from(*name) != *action));
        target.withheld.extend(withheld.into_iter().map(|(action, problem)| target::Withheld {
            action: action.into(),
            problem: Some(problem.into()),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chaos_kitty::{Code, v1::action_kind::Name};

    use super::*;
    use crate::platform::Subject;

    fn listed(platform_type: &str) -> Arc<Listed> {
        let actions = vec![Name::Delay.into(), Name::Script.into()];
        let target = Target {
            id: "t".to_owned(),
            name: "db".to_owned(),
            platform_type: platform_type.to_owned(),
            actions,
            ..Target::default()
        };
        Subject { target, ..Subject::default() }.into()
    }

    #[test]
    fn what_the_policy_forbids_is_not_offered_and_the_rule_is_told() {
        let offer = Offer::new("deny = ['script']".parse().unwrap());
        let told = offer.told(&listed("ProcessPlatform"));
        assert_eq!(told.actions().collect::<Vec<_>>(), [Name::Delay]);
        let [withheld] = &told.withheld[..] else { panic!("{told:?}") };
        let problem = withheld.problem.clone().unwrap();
        assert_eq!((withheld.action(), problem.code), (Name::Script, Code::PolicyForbids.number()));
        let protecting = Offer::new("protect = ['db']".parse().unwrap());
        let told = protecting.told(&listed("ProcessPlatform"));
        assert!(told.actions.is_empty());
        assert!(
            told.withheld.iter().all(|one| one.problem.as_ref().unwrap().code == Code::Protected.number())
        );
    }

    #[test]
    fn a_host_has_nothing_of_its_own_and_of_what_is_elsewhere_nothing_is_known() {
        let offer = Offer::default();
        assert_eq!(offer.told(&listed(HostPlatform::TYPE)).own, Some(target::Own::default()));
        assert_eq!(offer.told(&listed("KubernetesPlatform")).own, None);
    }
}
