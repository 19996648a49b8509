//! Names with `*` for any text, and labels: what rules match targets by.

use std::{fmt, str::FromStr};

/// A pattern; `*` stands for any text, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Whether it stands for this text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost place leaves the most for what follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            Err("a pattern must not be empty".to_owned())
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label that a target must have: `KEY`, or `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    key: String,
    value: Option<String>,
}

impl Label {
    /// Whether labels have it; `of` gives the value of one of them.
    pub(crate) fn matches<'a>(&self, of: impl FnOnce(&str) -> Option<&'a String>) -> bool {
        of(&self.key).is_some_and(|value| self.value.as_ref().is_none_or(|wanted| value == wanted))
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        match key {
            "" => Err("label: it must be KEY or KEY=VALUE".to_owned()),
            key => Ok(Self { key: key.to_owned(), value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, matches) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "a", true),
            ("*b", "ab", true),
            ("a*a", "a", false),
            ("process/*/postgres*", "process/web-1/postgres:42", true),
            ("process/*/postgres*", "process/web-1/nginx:42", false),
            ("*a*b*", "xbxaxb", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(text), matches, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn it_means_the_same_as_the_regular_expression(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
            let regex = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(pattern.parse::<Pattern>().unwrap().matches(&text), regex.is_match(&text));
        }
    }
}
