//! The included scripts.

use bytes::Bytes;
use chaos_kitty::{Code, Problem};

/// By name.
const INCLUDED: &[(&str, &[u8])] = &[("cpuBurn.sh", include_bytes!("scripts/cpuBurn.sh"))];

/// The content of a script.
///
/// # Errors
/// [`Code::NoSuchScript`], listing those there are.
pub(super) fn content(name: &str) -> Result<Bytes, Problem> {
    let found = INCLUDED.iter().find(|(included, _)| *included == name);
    found.map(|(_, content)| Bytes::from_static(content)).ok_or_else(|| {
        let names: Vec<_> = INCLUDED.iter().map(|(name, _)| *name).collect();
        Problem::new(Code::NoSuchScript, format!("there is no script {name:?}"))
            .hint(format!("there are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_script_is_refused_with_those_there_are() {
        let problem = content("rm.sh").unwrap_err();
        assert_eq!(problem.code, Code::NoSuchScript);
        assert!(problem.hint.contains("cpuBurn.sh"));
    }

    #[test]
    fn every_included_script_has_an_interpreter_and_a_description_and_both_or_none_of_its_remedies() {
        for (name, content) in INCLUDED {
            let text = std::str::from_utf8(content).unwrap();
            let has = |header: &str| text.lines().any(|line| line.starts_with(header));
            assert!(text.starts_with("#!/bin/sh\n") && has("# Description: "), "{name}");
            assert_eq!(has("# Health check: "), has("# Self healing: "), "{name}");
        }
    }
}
