//! What a script needs that its header does not say: its interpreter, which is certain, and what a shell script seems
//! to call, which is a guess.

/// Interpreters whose scripts can be guessed at. The first word of a line of any other language may be anything.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "ksh"];

/// What a shell has itself, so that no program is needed for it.
const SHELL_WORDS: &str = "if then else elif fi case esac for while until do done in function time select \
    break continue eval exec exit export readonly return set shift times trap unset alias bg cd command echo false \
    fc fg getopts hash jobs kill local printf pwd read test true type ulimit umask unalias wait source declare \
    typeset let shopt builtin pushd popd dirs disown mapfile readarray";

/// Whether every shell has that itself.
pub fn is_of_the_shell(word: &str) -> bool {
    SHELL_WORDS.split_whitespace().any(|own| own == word)
}

/// The programs that a shell script seems to need: the first word of each line, where it can be the name of one.
pub(super) fn calls(content: &[u8], text: &str) -> Vec<String> {
    if !is_shell(content) {
        return Vec::new();
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    let is_name = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-+./".contains(c))
            && !is_of_the_shell(word)
    };
    let is_own = |word: &&str| text.lines().any(|line| line.trim_start().starts_with(&format!("{word}()")));
    words.filter(is_name).filter(|word| !is_own(word)).map(str::to_owned).collect()
}

fn is_shell(content: &[u8]) -> bool {
    let last = interpreters(content).pop().unwrap_or_default();
    last.rsplit('/').next().is_some_and(|name| SHELLS.contains(&name))
}

/// The interpreter, and the program that it looks for where it is env(1).
pub(super) fn interpreters(content: &[u8]) -> Vec<String> {
    let Some((program, option)) = interpreter(content) else { return Vec::new() };
    let sought = option.filter(|_| program.ends_with("/env")).and_then(sought_by_env);
    [program].into_iter().chain(sought).map(str::to_owned).collect()
}

/// What env(1) runs: with `-S` the first word that is neither an option nor sets a variable, else all there is. `None`:
/// it takes other options, which are not followed.
fn sought_by_env(option: &str) -> Option<&str> {
    let split = ["--split-string=", "--split-string", "-S"].iter().find_map(|flag| option.strip_prefix(flag));
    match split {
        Some(rest) => {
            let mut words = rest.split_whitespace().skip_while(|word| word.contains('='));
            words.next().filter(|word| !word.starts_with('-'))
        }
        None => option.split_whitespace().next().filter(|word| !word.starts_with('-')),
    }
}

/// What a `#!` line names: the program, and its one argument if there is any (execve(2)).
pub fn interpreter(content: &[u8]) -> Option<(&str, Option<&str>)> {
    let line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let (program, option) = line.split_once([' ', '\t']).map_or((line, None), |(a, b)| (a, Some(b.trim())));
    program.starts_with('/').then_some((program, option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(text: &str) -> Vec<String> {
        calls(text.as_bytes(), text)
    }

    #[test]
    fn of_a_shell_script_the_first_words_are_guessed() {
        let text = "\n\nbomb() { bomb; }\nbomb\nx=1\nwhile :; do\n  nohup sleep 1\n  done\nif [ $x ]; then\n} \nsleep 2\n./own x\n";
        for shell in
            ["/bin/bash", "/bin/sh -e", "/usr/bin/dash", "/usr/bin/env bash", "/usr/bin/env -S bash -e"]
        {
            assert_eq!(guessed(&format!("#!{shell}{text}")), ["nohup", "sleep"], "{shell}");
        }
    }

    #[test]
    fn of_any_other_language_nothing_is_guessed() {
        for other in
            ["/usr/bin/python3", "/usr/bin/env python3", "/usr/bin/perl -w", "/usr/bin/awk -f", "/bin/shark"]
        {
            assert_eq!(guessed(&format!("#!{other}\nimport time\nprint x\n")), [""; 0], "{other}");
        }
        assert_eq!(guessed("import time\n"), [""; 0]);
    }

    #[test]
    fn what_env_looks_for_is_needed_too_and_its_options_are_not() {
        let sought = |line: &str| interpreters(format!("#!/usr/bin/env {line}\n").as_bytes()).get(1).cloned();
        for line in
            ["python3", "-S python3 -u", "-Spython3 -u", "-S A=1 B=2 python3", "--split-string=python3 -u"]
        {
            assert_eq!(sought(line).as_deref(), Some("python3"), "{line}");
        }
        assert_eq!((sought("-i python3"), sought("-S -i python3")), (None, None));
    }

    #[test]
    fn the_first_line_names_the_interpreter() {
        assert_eq!(interpreter(b"#!/bin/sh\nexit 0\n"), Some(("/bin/sh", None)));
        assert_eq!(interpreter(b"#! /usr/bin/env  python3 \nx"), Some(("/usr/bin/env", Some("python3"))));
        for none in [&b"#!sh\n"[..], b"echo hello\n", b"", b"#!/bin/\xff\n"] {
            assert_eq!(interpreter(none), None);
        }
    }
}
