//! Rules that say which pods are targets.

use std::collections::BTreeMap;

use chaos_kitty::{Code, Problem};
use serde::Deserialize;

use crate::pattern::{Label, Pattern};

/// The label by which a pod says with `false` that it is never a target.
const OPT_OUT: &str = "chaoskitty";

/// Owners whose pods are to end: they are no services.
const OF_JOBS: [&str; 2] = ["Job", "CronJob"];

/// A `[[kubernetes]]` table of the agent's configuration. A pod must meet all that is given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// The pod's namespace; `*` is any text.
    pub namespace: String,
    /// A label that it has: `KEY`, or `KEY=VALUE`.
    pub label: Option<String>,
    /// The container that faults land on. Default: the pod's first one.
    pub container: Option<String>,
    /// The group of the targets. Default: the name of their top owner.
    pub group: Option<String>,
    /// Pods of other nodes too: to them is done what the API does. One agent of a cluster is told this.
    #[serde(default)]
    pub anywhere: bool,
}

impl RuleSettings {
    /// The rule of `--kubernetes NAMESPACE`.
    pub fn named(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), label: None, container: None, group: None, anywhere: false }
    }
}

/// A rule ready to be matched.
#[derive(Clone, Debug)]
pub struct Rule {
    namespace: Pattern,
    label: Option<Label>,
    pub(super) container: Option<String>,
    pub(super) group: Option<String>,
    pub(super) anywhere: bool,
}

/// Makes rules of their settings.
///
/// # Errors
/// Everything that is wrong with them, one problem each.
pub fn compile(settings: &[RuleSettings]) -> Result<Vec<Rule>, Vec<Problem>> {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for one in settings {
        match Rule::new(one) {
            Ok(rule) => rules.push(rule),
            Err(what) => problems.push(Problem::new(Code::Usage, format!("kubernetes rule {one:?}: {what}"))),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

impl Rule {
    fn new(settings: &RuleSettings) -> Result<Self, String> {
        let RuleSettings { namespace, label, container, group, anywhere } = settings;
        let label = label.as_deref().map(str::parse).transpose()?;
        Ok(Self {
            namespace: namespace.parse()?,
            label,
            container: container.clone(),
            group: group.clone(),
            anywhere: *anywhere,
        })
    }

    fn matches(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespace.matches(namespace)
            && self.label.as_ref().is_none_or(|label| label.matches(|key| labels.get(key)))
    }
}

/// The first rule that a pod matches. Whatever the rules say, one that opted out matches none.
pub(super) fn rule_of<'a>(
    rules: &'a [Rule],
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Option<&'a Rule> {
    if labels.get(OPT_OUT).is_some_and(|value| value == "false") {
        return None;
    }
    rules.iter().find(|rule| rule.matches(namespace, labels))
}

/// What made a pod: its controller, as the pod itself names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controller<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
}

impl<'a> Controller<'a> {
    /// Whether its pods are to end by themselves.
    pub(super) fn is_job(self) -> bool {
        OF_JOBS.contains(&self.kind)
    }

    /// The top owner. A Deployment names its ReplicaSets `NAME-HASH` and puts the hash into a label of their pods, so
    /// that no right to read ReplicaSets is needed.
    pub(super) fn top(self, labels: &BTreeMap<String, String>) -> Self {
        let hash = labels.get("pod-template-hash").filter(|_| self.kind == "ReplicaSet");
        let deployment = hash.and_then(|hash| self.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match deployment.filter(|name| !name.is_empty()) {
            Some(name) => Self { kind: "Deployment", name },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pod_is_matched_by_namespace_and_label_and_may_opt_out() {
        let settings = [
            RuleSettings { label: Some("tier=back".into()), ..RuleSettings::named("shop-*") },
            RuleSettings::named("bank"),
        ];
        let rules = compile(&settings).unwrap();
        let found = |namespace, of: &[(&str, &str)]| rule_of(&rules, namespace, &labels(of)).is_some();
        assert!(found("shop-1", &[("tier", "back")]));
        assert!(!found("shop-1", &[("tier", "front")]));
        assert!(!found("kube-system", &[]));
        assert!(found("bank", &[]));
        assert!(!found("bank", &[("chaoskitty", "false")]), "it has the last word");
        let no_key = RuleSettings { label: Some("=x".into()), ..RuleSettings::named("*") };
        assert_eq!(compile(&[no_key, RuleSettings::named("")]).unwrap_err().len(), 2);
    }

    #[test]
    fn the_group_of_a_deployments_pod_is_the_deployment_and_not_its_present_replica_set() {
        let top =
            |kind, name, of: &[(&str, &str)]| Controller { kind, name }.top(&labels(of)).name.to_owned();
        let hash = [("pod-template-hash", "67d549b976")];
        assert_eq!(top("ReplicaSet", "ngnix-67d549b976", &hash), "ngnix");
        assert_eq!(top("ReplicaSet", "own", &[]), "own", "one that no Deployment made");
        assert_eq!(top("StatefulSet", "mongo", &hash), "mongo");
        assert!(Controller { kind: "Job", name: "j" }.is_job());
        assert!(!Controller { kind: "DaemonSet", name: "d" }.is_job());
    }
}
