//! Rules as they are written on a command line: `PATTERN`, or `NAME=PATTERN`, where NAME becomes the rule's name.

use super::rules::{RuleSettings, is_name};

impl RuleSettings {
    /// The rule of `--process [NAME=]PROCESS`: processes of that name, or of the program of that file name.
    pub fn named(text: &str) -> Self {
        let (name, process) = parts(text);
        Self {
            name: name.unwrap_or_else(|| derived(process)),
            process: Some(process.to_owned()),
            ..Self::default()
        }
    }

    /// The rule of `--process-exe [NAME=]PROGRAM`.
    pub fn of_program(text: &str) -> Self {
        let (name, exe) = parts(text);
        Self { name: name.unwrap_or_else(|| derived(exe)), exe: Some(exe.to_owned()), ..Self::default() }
    }

    /// The rule of `--process-command [NAME=]REGEX`.
    pub fn of_command(text: &str) -> Self {
        let (name, command) = parts(text);
        Self {
            name: name.unwrap_or_else(|| derived(command)),
            command_line: Some(command.to_owned()),
            ..Self::default()
        }
    }

    /// The rule of `--process-pidfile [NAME=]FILE`.
    pub fn of_pidfile(text: &str) -> Self {
        let (name, file) = parts(text);
        let named = || derived(file.strip_suffix(".pid").unwrap_or(file));
        Self { name: name.unwrap_or_else(named), pidfile: Some(file.to_owned()), ..Self::default() }
    }
}

/// The name, where one is given, and the pattern.
fn parts(text: &str) -> (Option<String>, &str) {
    match text.split_once('=') {
        Some((name, pattern)) if is_name(name) => (Some(name.to_owned()), pattern),
        _ => (None, text),
    }
}

/// A rule's name made of a pattern: what follows its last slash, with `-` for whatever a name may not hold. Empty:
/// there is nothing to make one of.
fn derived(pattern: &str) -> String {
    let last = pattern.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let words = last.split(|c: char| !is_name(c.encode_utf8(&mut [0; 4])));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::process::rules::compile;

    #[test]
    fn a_flag_gives_a_rule_a_name_or_one_is_made_for_it() {
        for (rule, name) in [
            (RuleSettings::named("nginx"), "nginx"),
            (RuleSettings::named("Plex Media Server"), "Plex-Media-Server"),
            (RuleSettings::named("plex=Plex Media Server"), "plex"),
            (RuleSettings::named("(sd-pam)"), "sd-pam"),
            (RuleSettings::of_program("/opt/my shop/bin/till"), "till"),
            (RuleSettings::of_command(r"till=till\.py --port=1"), "till"),
            (RuleSettings::of_command(r"till\.py --port=1"), "till-.py---port-1"),
            (RuleSettings::of_pidfile("/run/nginx.pid"), "nginx"),
        ] {
            assert_eq!(rule.name, name);
            assert!(compile(std::slice::from_ref(&rule)).is_ok(), "{rule:?}");
        }
        assert_eq!(
            RuleSettings::named("plex=Plex Media Server").process.as_deref(),
            Some("Plex Media Server")
        );
        assert_eq!(RuleSettings::of_command("till=a=b").command_line.as_deref(), Some("a=b"));
    }

    #[test]
    fn what_gives_no_name_is_refused_with_the_way_out() {
        for text in ["", "猫", "===", "/"] {
            let problems = compile(&[RuleSettings::named(text)]).unwrap_err();
            assert!(problems[0].hint.contains("NAME="), "{text:?}: {problems:?}");
        }
    }
}
