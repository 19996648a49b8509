//! Rules that say which containers are targets.

use std::collections::HashMap;

use chaos_kitty::{Code, Problem};
use serde::Deserialize;

use crate::pattern::{Label, Pattern};

/// The label by which a container offers itself, or with `false` is never a target.
const OPT_IN: &str = "chaoskitty";

/// Set by Compose: the service that a container belongs to, and its project.
const SERVICE: &str = "com.docker.compose.service";
const PROJECT: &str = "com.docker.compose.project";

/// A `[[docker]]` table of the agent's configuration. At least one of `container` and `label` is needed; a container
/// must meet all that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// The container's name; `*` is any text.
    pub container: Option<String>,
    /// A label that it has: `KEY`, or `KEY=VALUE`.
    pub label: Option<String>,
    /// The group of the targets. Default: their Compose project and service, `PROJECT/SERVICE`, else their image.
    pub group: Option<String>,
}

impl RuleSettings {
    /// The rule of `--docker NAME`.
    pub fn named(name: &str) -> Self {
        Self { container: Some(name.to_owned()), ..Self::default() }
    }

    /// The rule of `--docker-opt-in`.
    pub fn opt_in() -> Self {
        Self { label: Some(format!("{OPT_IN}=true")), ..Self::default() }
    }
}

/// A rule ready to be matched.
#[derive(Clone, Debug)]
pub struct Rule {
    container: Option<Pattern>,
    label: Option<Label>,
    group: Option<String>,
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
            Err(what) => problems.push(Problem::new(Code::Usage, format!("docker rule {one:?}: {what}"))),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

impl Rule {
    fn new(settings: &RuleSettings) -> Result<Self, String> {
        let RuleSettings { container, label, group } = settings;
        if container.is_none() && label.is_none() {
            return Err("says nothing to match: give container or label".to_owned());
        }
        let container = container.as_deref().map(str::parse).transpose()?;
        let label = label.as_deref().map(str::parse).transpose()?;
        Ok(Self { container, label, group: group.clone() })
    }

    fn matches(&self, name: &str, labels: &HashMap<String, String>) -> bool {
        self.container.as_ref().is_none_or(|pattern| pattern.matches(name))
            && self.label.as_ref().is_none_or(|label| label.matches(|key| labels.get(key)))
    }
}

/// The first rule that a container matches. Whatever the rules say, one that opted out matches none.
pub(super) fn rule_of<'a>(
    rules: &'a [Rule],
    name: &str,
    labels: &HashMap<String, String>,
) -> Option<&'a Rule> {
    if labels.get(OPT_IN).is_some_and(|value| value == "false") {
        return None;
    }
    rules.iter().find(|rule| rule.matches(name, labels))
}

/// The group of a container that matches a rule.
pub(super) fn group(rule: &Rule, labels: &HashMap<String, String>, image: &str) -> String {
    let composed = || {
        let service = labels.get(SERVICE)?;
        // Services of one name in two projects are strangers: to hurt one must not count for the other.
        Some(labels.get(PROJECT).map_or_else(|| service.clone(), |project| format!("{project}/{service}")))
    };
    rule.group.clone().or_else(composed).unwrap_or_else(|| without_tag(image).to_owned())
}

/// An image's name without tag and digest, so that a new version is of the same group. The port of a registry is no tag.
fn without_tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') && !before.is_empty() => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> HashMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_container_is_matched_by_name_and_label_and_may_opt_in_or_out() {
        let settings = [
            RuleSettings::named("web-*"),
            RuleSettings::opt_in(),
            RuleSettings { label: Some("tier".into()), group: Some("backs".into()), ..Default::default() },
        ];
        let rules = compile(&settings).unwrap();
        let found =
            |name, of: &[(&str, &str)]| rule_of(&rules, name, &labels(of)).map(|rule| rule.group.clone());
        assert_eq!(found("web-1", &[]), Some(None));
        assert_eq!(found("db", &[]), None);
        assert_eq!(found("db", &[("chaoskitty", "true")]), Some(None));
        assert_eq!(found("db", &[("chaoskitty", "maybe")]), None);
        assert_eq!(found("db", &[("tier", "x")]), Some(Some("backs".to_owned())));
        assert_eq!(found("web-1", &[("chaoskitty", "false")]), None, "it has the last word");
    }

    #[test]
    fn a_group_is_the_rules_else_the_compose_service_else_the_image_of_any_version() {
        let own = |group: Option<&str>| {
            let settings = RuleSettings { group: group.map(str::to_owned), ..RuleSettings::named("*") };
            compile(&[settings]).unwrap().remove(0)
        };
        let composed = labels(&[(SERVICE, "mongo")]);
        assert_eq!(group(&own(Some("own")), &composed, "x"), "own");
        assert_eq!(group(&own(None), &composed, "x"), "mongo");
        for (project, named) in [("shop", "shop/mongo"), ("bank", "bank/mongo")] {
            let composed = labels(&[(SERVICE, "mongo"), (PROJECT, project)]);
            assert_eq!(group(&own(None), &composed, "x"), named);
            assert_eq!(group(&own(Some("own")), &composed, "x"), "own");
        }
        for (image, named) in [
            ("nginx:1.27", "nginx"),
            ("nginx", "nginx"),
            ("reg.example:5000/shop/till:v2", "reg.example:5000/shop/till"),
            ("reg.example:5000/shop/till", "reg.example:5000/shop/till"),
            ("nginx:1.27@sha256:ab", "nginx"),
        ] {
            assert_eq!(group(&own(None), &labels(&[]), image), named);
        }
    }

    #[test]
    fn what_matches_nothing_or_everything_by_mistake_is_refused() {
        let empty = RuleSettings::default();
        let no_key = RuleSettings { label: Some("=x".into()), ..Default::default() };
        let problems = compile(&[empty, RuleSettings::named(""), no_key]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
