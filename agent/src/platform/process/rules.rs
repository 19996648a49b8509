//! Rules that say which processes are targets.

use std::{collections::BTreeMap, fs, io, os::unix::ffi::OsStrExt, sync::OnceLock};

use chaos_kitty::{Code, Problem, nss};
use regex::Regex;
use serde::Deserialize;

use super::scan::Candidate;

/// A `[[process]]` table of the agent's configuration. At least one of `process`, `exe`, `command_line`,
/// `user` and `pidfile` is needed; a process must meet all that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// The rule's name: letters, digits, '.', '_' and '-'. It is part of its targets' ids.
    pub name: String,
    /// The process's name (as `ps -o comm` shows it) or its program's file name.
    pub process: Option<String>,
    /// The program: an absolute path, or its file name.
    pub exe: Option<String>,
    /// A regular expression, searched in the arguments joined with spaces.
    pub command_line: Option<String>,
    /// The effective user, by name or number.
    pub user: Option<String>,
    /// A file that holds the pid.
    pub pidfile: Option<String>,
    /// The group of the targets. Default: the rule's name.
    pub group: Option<String>,
    /// A regular expression with one capture, searched in the command line, then in each `NAME=VALUE` of the
    /// environment: the target's name. Default: `RULE:PID`.
    pub target_name: Option<String>,
    /// Something recreates these processes when they die. Default: false.
    #[serde(default)]
    pub cattle: bool,
    /// Labels of the targets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A rule ready to be matched.
#[derive(Clone, Debug)]
pub struct Rule {
    settings: RuleSettings,
    command_line: Option<Regex>,
    target_name: Option<Regex>,
    /// Of the user that it names, once that is known.
    uid: OnceLock<u32>,
}

/// Makes rules of their settings.
///
/// # Errors
/// Everything that is wrong with them, one problem each.
pub fn compile(settings: &[RuleSettings]) -> Result<Vec<Rule>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::with_capacity(settings.len());
    for (index, one) in settings.iter().enumerate() {
        if settings[..index].iter().any(|earlier| earlier.name == one.name) {
            problems.push(wrong(one, "name", "another rule has the same").hint(NAME_IT));
        }
        match Rule::new(one) {
            Ok(rule) => rules.push(rule),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

impl Rule {
    fn new(settings: &RuleSettings) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if !is_name(&settings.name) {
            let what = "must be of the letters a to z and A to Z, digits, '.', '_' and '-'";
            problems.push(wrong(settings, "name", what).hint(NAME_IT));
        }
        let RuleSettings { process, exe, command_line, user, pidfile, .. } = settings;
        if [process, exe, command_line, user, pidfile].iter().all(|criterion| criterion.is_none()) {
            let what = "says nothing to match: give process, exe, command_line, user or pidfile";
            problems.push(wrong(settings, "rule", what));
        }
        if exe.as_ref().is_some_and(|exe| exe.contains('/') && !exe.starts_with('/')) {
            problems.push(wrong(settings, "exe", "must be an absolute path or a file name"));
        }
        let command_line = expression(settings, "command_line", command_line, &mut problems);
        let target_name = expression(settings, "target_name", &settings.target_name, &mut problems);
        if target_name.as_ref().is_some_and(|name| name.captures_len() != 2) {
            problems.push(wrong(
                settings,
                "target_name",
                "needs exactly one capture, e.g. \"--name=(\\S+)\"",
            ));
        }
        let rule = Self { settings: settings.clone(), command_line, target_name, uid: OnceLock::new() };
        if problems.is_empty() { Ok(rule) } else { Err(problems) }
    }

    /// What it was made of.
    pub fn settings(&self) -> &RuleSettings {
        &self.settings
    }

    /// Looks up the user that it names, where that is not known yet; until it is, nothing matches. May wait for whoever
    /// knows the names of this host.
    ///
    /// # Errors
    /// Why it is not known. It may be later: whoever knows it may not answer yet.
    pub fn resolve(&self) -> Result<(), String> {
        let Some(user) = self.settings.user.as_ref().filter(|_| self.uid.get().is_none()) else {
            return Ok(());
        };
        let unknown = |why: &dyn std::fmt::Display| {
            format!("process rule {:?} matches nothing: user {user:?}: {why}", self.settings.name)
        };
        let uid = match user.parse() {
            Ok(uid) => uid,
            Err(_) => {
                nss::user(user)
                    .map_err(|error| unknown(&error))?
                    .ok_or_else(|| unknown(&"this host does not know it (getent passwd)"))?
                    .uid
            }
        };
        self.uid.get_or_init(|| uid);
        Ok(())
    }

    /// The group of its targets.
    pub fn group(&self) -> &str {
        self.settings.group.as_deref().unwrap_or(&self.settings.name)
    }

    /// Whether a process meets all criteria. `pidfile` is what the rule's pid file holds now.
    pub(super) fn matches(&self, process: &Candidate, pidfile: Option<u32>) -> bool {
        let RuleSettings { process: name, exe, user, pidfile: wants_pidfile, .. } = &self.settings;
        name.as_ref().is_none_or(|name| process.is_named(name))
            && exe.as_ref().is_none_or(|exe| process.runs(exe))
            && (user.is_none() || self.uid.get() == Some(&process.uid))
            && (wants_pidfile.is_none() || pidfile == Some(process.pid))
            && self.command_line.as_ref().is_none_or(|pattern| pattern.is_match(&process.command_line))
    }

    /// The name that its pattern captures of a process. `None`: it has no pattern, or it captures nothing.
    pub(super) fn captured_name(
        &self,
        process: &Candidate,
        environment: impl FnOnce() -> Vec<String>,
    ) -> Option<String> {
        let pattern = self.target_name.as_ref()?;
        let captured = |text: &str| Some(pattern.captures(text)?.get(1)?.as_str().to_owned());
        let name = captured(&process.command_line)
            .or_else(|| environment().iter().find_map(|variable| captured(variable)))?;
        let plain = |c: char| if c.is_whitespace() || c.is_control() || c == '/' { '_' } else { c };
        Some(name.chars().map(plain).collect()).filter(|name: &String| !name.is_empty())
    }

    /// What its pid file holds now. `None`: it has none, or there is none, or it holds something else.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn read_pidfile(&self) -> Result<Option<u32>, String> {
        let Some(path) = &self.settings.pidfile else { return Ok(None) };
        match fs::read(path) {
            Ok(text) => Ok(str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(format!("process rule {:?} matches nothing: pidfile {path}: {error}", self.settings.name))
            }
        }
    }
}

const NAME_IT: &str =
    "give the rule a name of its own: NAME=PATTERN on the command line, name in a [[process]] table";

/// Whether a rule may have that name.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn expression(
    settings: &RuleSettings,
    field: &str,
    pattern: &Option<String>,
    problems: &mut Vec<Problem>,
) -> Option<Regex> {
    // The message of a regular expression shows it with a mark below the place of the mistake.
    let compiled = Regex::new(pattern.as_ref()?);
    compiled.map_err(|error| problems.push(wrong(settings, field, error))).ok()
}

fn wrong(settings: &RuleSettings, field: &str, what: impl std::fmt::Display) -> Problem {
    Problem::new(Code::Usage, format!("process rule {:?}: {field}: {what}", settings.name))
}

impl Candidate {
    /// `name` is its name or its program's file name. The kernel keeps 15 bytes of a process's name.
    fn is_named(&self, name: &str) -> bool {
        self.name == name.as_bytes() || self.file_name() == Some(name.as_bytes())
    }

    fn runs(&self, exe: &str) -> bool {
        if exe.starts_with('/') {
            self.exe.as_ref().is_some_and(|own| own.as_os_str() == exe)
        } else {
            self.file_name() == Some(exe.as_bytes())
        }
    }

    fn file_name(&self) -> Option<&[u8]> {
        Some(self.exe.as_ref()?.file_name()?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Candidate {
        Candidate {
            pid: 7,
            exe: Some("/usr/sbin/nginx".into()),
            name: "nginx".into(),
            command_line: "nginx: master --name=front/1".into(),
            uid: 33,
            ..Candidate::default()
        }
    }

    fn rule(change: impl FnOnce(&mut RuleSettings)) -> Rule {
        let mut settings = RuleSettings { name: "r".into(), ..Default::default() };
        change(&mut settings);
        let rule = compile(&[settings]).unwrap().remove(0);
        rule.resolve().unwrap();
        rule
    }

    #[test]
    fn all_criteria_must_be_met() {
        assert!(compile(&[RuleSettings::named("nginx")]).unwrap()[0].matches(&process(), None));
        assert!(rule(|r| r.exe = Some("nginx".into())).matches(&process(), None));
        assert!(rule(|r| r.exe = Some("/usr/sbin/nginx".into())).matches(&process(), None));
        assert!(!rule(|r| r.exe = Some("/sbin/nginx".into())).matches(&process(), None));
        assert!(rule(|r| r.command_line = Some("^nginx: m".into())).matches(&process(), None));
        assert!(rule(|r| r.user = Some("33".into())).matches(&process(), None));
        let both = rule(|r| (r.user, r.process) = (Some("root".into()), Some("nginx".into())));
        assert!(!both.matches(&process(), None), "root is not its user");
        let by_file = rule(|r| r.pidfile = Some("/run/nginx.pid".into()));
        assert!(by_file.matches(&process(), Some(7)));
        assert!(!by_file.matches(&process(), Some(8)) && !by_file.matches(&process(), None));
    }

    #[test]
    fn a_rule_whose_user_is_not_known_matches_nothing_and_says_so() {
        let settings = RuleSettings {
            name: "r".into(),
            process: Some("nginx".into()),
            user: Some("nobody-of-that-name".into()),
            ..Default::default()
        };
        let rule = compile(&[settings]).unwrap().remove(0);
        let why = rule.resolve().unwrap_err();
        assert!(why.contains("\"r\"") && why.contains("nobody-of-that-name"), "{why}");
        assert!(!rule.matches(&process(), None));
    }

    #[test]
    fn a_name_is_captured_from_command_line_or_environment() {
        let by_line = rule(|r| {
            (r.process, r.target_name) = (Some("nginx".into()), Some(r"--name=(\S+)".into()));
        });
        assert_eq!(by_line.captured_name(&process(), Vec::new).as_deref(), Some("front_1"));
        let by_variable = rule(|r| {
            (r.process, r.target_name) = (Some("nginx".into()), Some("^NODE=(.+)$".into()));
        });
        let environment = || vec!["A=1".to_owned(), "NODE=blue".to_owned()];
        assert_eq!(by_variable.captured_name(&process(), environment).as_deref(), Some("blue"));
        assert_eq!(by_variable.captured_name(&process(), Vec::new), None);
    }

    #[test]
    fn all_mistakes_are_reported_a_bad_expression_with_its_place() {
        let settings = [
            RuleSettings { name: "a b".into(), ..Default::default() },
            RuleSettings {
                name: "two".into(),
                exe: Some("bin/x".into()),
                command_line: Some("a(b".into()),
                target_name: Some("no capture".into()),
                ..Default::default()
            },
            RuleSettings::named("two"),
        ];
        let problems = compile(&settings).unwrap_err();
        assert_eq!(problems.len(), 6, "{problems:#?}");
        let expression = problems.iter().find(|problem| problem.message.contains("command_line: ")).unwrap();
        assert!(expression.message.contains("a(b") && expression.message.contains('^'), "{expression}");
    }

    #[test]
    fn toml_tables_are_rules_and_unknown_keys_are_refused() {
        let text = "name = 'web'\nexe = 'nginx'\ncattle = true\n[labels]\ntier = 'front'";
        let settings: RuleSettings = toml::from_str(text).unwrap();
        assert!(settings.cattle && settings.labels["tier"] == "front");
        assert!(toml::from_str::<RuleSettings>("name = 'web'\nexee = 'nginx'").is_err());
    }
}
