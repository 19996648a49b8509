//! The scripts that the server handed over, by their hashes.

use std::collections::VecDeque;

use bytes::Bytes;
use chaos_kitty::{Code, Problem, limits, script, v1::ScriptContent};

/// See the module. Those that were given last are kept.
#[derive(Debug, Default)]
pub struct Scripts {
    kept: VecDeque<ScriptContent>,
}

impl Scripts {
    /// Keeps a script.
    ///
    /// # Errors
    /// Its content has another hash, or is too large.
    pub fn keep(&mut self, given: ScriptContent) -> Result<(), Problem> {
        let (found, size) = (script::hash(&given.content), given.content.len());
        if found != given.hash || size > limits::SCRIPT_BYTES {
            let what = format!("a script of {size} bytes came as {:?} and is {found}", given.hash);
            return Err(Problem::new(Code::ProtocolViolation, what));
        }
        self.kept.retain(|kept| kept.hash != given.hash);
        if self.kept.len() == limits::SCRIPTS {
            self.kept.pop_front();
        }
        self.kept.push_back(given);
        Ok(())
    }

    /// The content of that hash.
    ///
    /// # Errors
    /// [`Code::NoSuchScript`].
    pub fn content(&self, name: &str, hash: &str) -> Result<Bytes, Problem> {
        let kept = self.kept.iter().find(|kept| kept.hash == hash);
        kept.map(|kept| kept.content.clone()).ok_or_else(|| {
            let what = format!("the agent was not given the script {name:?} (SHA-256 {hash:?})");
            Problem::new(Code::NoSuchScript, what)
                .hint("order it again: the server hands scripts over by itself")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> ScriptContent {
        ScriptContent { hash: script::hash(text.as_bytes()), content: text.as_bytes().to_vec().into() }
    }

    #[test]
    fn what_was_given_is_kept_and_nothing_else() {
        let mut scripts = Scripts::default();
        let one = given("one");
        scripts.keep(one.clone()).unwrap();
        assert_eq!(scripts.content("a.sh", &one.hash).unwrap(), one.content);
        let unknown = scripts.content("a.sh", &given("two").hash).unwrap_err();
        assert!(unknown.code == Code::NoSuchScript && unknown.message.contains("a.sh"), "{unknown}");
    }

    #[test]
    fn a_content_that_is_not_what_it_says_is_refused() {
        let mut scripts = Scripts::default();
        let forged = ScriptContent { hash: given("one").hash, ..given("two") };
        assert_eq!(scripts.keep(forged.clone()).unwrap_err().code, Code::ProtocolViolation);
        assert!(scripts.content("a.sh", &forged.hash).is_err());
        let large = given(&"x".repeat(limits::SCRIPT_BYTES + 1));
        assert!(scripts.keep(large).is_err());
    }

    #[test]
    fn as_many_are_kept_as_a_server_has_and_those_given_again_are_new_again() {
        let mut scripts = Scripts::default();
        (0..limits::SCRIPTS).for_each(|n| scripts.keep(given(&n.to_string())).unwrap());
        scripts.keep(given("0")).unwrap();
        scripts.keep(given("another")).unwrap();
        assert!(scripts.content("", &given("0").hash).is_ok());
        assert!(scripts.content("", &given("1").hash).is_err());
        assert_eq!(scripts.kept.len(), limits::SCRIPTS);
    }
}
