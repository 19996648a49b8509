//! Which methods may be drawn by chance.

use std::collections::BTreeSet;

use chaos_kitty::{Code, Problem};

use super::{Method, Methods};

/// All that harm no more than their target.
const TAME: &str = "tame";
/// All there are.
const ALL: &str = "all";

/// Names of methods, or a word for many of them. A person may name any method in a suite, whatever this says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automated(BTreeSet<String>);

impl Default for Automated {
    fn default() -> Self {
        Self([TAME.to_owned()].into())
    }
}

impl FromIterator<String> for Automated {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

impl Automated {
    /// Whether the method may be drawn.
    pub(in crate::experiment) fn draws(&self, method: &Method) -> bool {
        let has = |name: &str| self.0.contains(name);
        has(ALL) || has(method.name()) || has(TAME) && !method.harms_host
    }

    /// Whether all that it names are there.
    ///
    /// # Errors
    /// [`Code::Usage`], with the methods that there are.
    pub(in crate::experiment) fn check(&self, methods: &Methods) -> Result<(), Problem> {
        let is_known = |name: &&String| [TAME, ALL].contains(&name.as_str()) || methods.get(name).is_some();
        let Some(unknown) = self.0.iter().find(|name| !is_known(name)) else { return Ok(()) };
        let names: Vec<_> = methods.iter().map(|method| method.name()).collect();
        Err(Problem::new(Code::Usage, format!("automated-methods: there is no method {unknown:?}"))
            .hint(format!("it must be one of {TAME}, {ALL}, {}", names.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Scripts;

    fn drawn(names: &[&str]) -> Vec<String> {
        let scripts: Vec<_> = Scripts::load(None).unwrap().all().cloned().collect();
        let automated: Automated = names.iter().map(|&name| name.to_owned()).collect();
        let methods = Methods::new(&scripts);
        automated.check(&methods).unwrap();
        let drawn = methods.iter().filter(|method| automated.draws(method));
        drawn.map(|method| method.name().to_owned()).collect()
    }

    #[test]
    fn by_default_nothing_is_drawn_that_harms_more_than_its_target() {
        let tame = drawn(&[TAME]);
        assert!(
            ["delay", "killProcess", "cpuBurn.sh", "dnsBlock.sh"]
                .iter()
                .all(|name| tame.iter().any(|one| one == name))
        );
        for name in ["fillDisk.sh", "forkBomb.sh", "memoryConsumer.sh", "burnIO.sh"] {
            assert!(!tame.iter().any(|one| one == name), "{name}");
        }
        assert_eq!(Automated::default(), [TAME.to_owned()].into_iter().collect());
    }

    #[test]
    fn what_is_named_is_drawn_and_nothing_else() {
        assert_eq!(drawn(&["fillDisk.sh", "delay"]), ["delay", "fillDisk.sh"]);
        assert_eq!(drawn(&[TAME, "burnIO.sh"]).len(), drawn(&[TAME]).len() + 1);
        assert!(drawn(&[ALL]).len() > drawn(&[TAME]).len() + 3);
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_there_are() {
        let automated: Automated = ["meow".to_owned()].into_iter().collect();
        let problem = automated.check(&Methods::new(&[])).unwrap_err();
        assert!(problem.code == Code::Usage && problem.message.contains("meow"), "{problem}");
        assert!(problem.hint.contains("delay"), "{problem}");
    }
}
