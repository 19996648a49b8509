//! Rules that say which services are targets.

use chaos_kitty::{Code, Problem};
use serde::Deserialize;

use crate::pattern::Pattern;

/// The only kind of unit that has a main process.
const SERVICE: &str = ".service";

/// A `[[systemd]]` table of the agent's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// The service's name; `*` is any text, and `.service` may be left out.
    pub unit: String,
    /// The group of the targets. Default: their unit's name without instance.
    pub group: Option<String>,
}

impl RuleSettings {
    /// The rule of `--systemd NAME`.
    pub fn named(name: &str) -> Self {
        Self { unit: name.to_owned(), group: None }
    }
}

/// A rule ready to be matched.
#[derive(Clone, Debug)]
pub struct Rule {
    unit: Pattern,
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
            Err(what) => {
                problems.push(Problem::new(Code::Usage, format!("systemd rule {:?}: {what}", one.unit)));
            }
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

impl Rule {
    fn new(settings: &RuleSettings) -> Result<Self, String> {
        const OTHERS: [&str; 6] = [".socket", ".timer", ".mount", ".slice", ".scope", ".target"];
        let unit = &settings.unit;
        if OTHERS.iter().any(|kind| unit.ends_with(kind)) {
            return Err("only services have processes of their own: name a .service".to_owned());
        }
        let whole = unit.is_empty() || unit.ends_with(SERVICE) || unit.ends_with('*');
        let unit = if whole { unit.clone() } else { format!("{unit}{SERVICE}") };
        Ok(Self { unit: unit.parse()?, group: settings.group.clone() })
    }
}

/// The first rule that a unit matches.
pub(super) fn rule_of<'a>(rules: &'a [Rule], unit: &str) -> Option<&'a Rule> {
    rules.iter().find(|rule| unit.ends_with(SERVICE) && rule.unit.matches(unit))
}

/// The group of a unit that matches a rule: instances of a template are together.
pub(super) fn group(rule: &Rule, unit: &str) -> String {
    let name = unit.strip_suffix(SERVICE).unwrap_or(unit);
    let template = name.split_once('@').map_or(name, |(template, _)| template);
    rule.group.clone().unwrap_or_else(|| template.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_matched_by_name_with_or_without_suffix() {
        let rules = compile(&["nginx", "web@*", "db*.service"].map(RuleSettings::named)).unwrap();
        for (unit, matches) in [
            ("nginx.service", true),
            ("nginx.socket", false),
            ("nginx-2.service", false),
            ("web@1.service", true),
            ("web@1.socket", false),
            ("db-main.service", true),
        ] {
            assert_eq!(rule_of(&rules, unit).is_some(), matches, "{unit}");
        }
    }

    #[test]
    fn instances_of_a_template_are_one_group() {
        let rule = |group: Option<&str>| {
            let settings = RuleSettings { group: group.map(str::to_owned), ..RuleSettings::named("*") };
            compile(&[settings]).unwrap().remove(0)
        };
        assert_eq!(group(&rule(None), "web@1.service"), "web");
        assert_eq!(group(&rule(None), "nginx.service"), "nginx");
        assert_eq!(group(&rule(Some("front")), "nginx.service"), "front");
    }

    #[test]
    fn what_has_no_processes_is_refused() {
        let problems = compile(&["x.socket", "", "x"].map(RuleSettings::named)).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
