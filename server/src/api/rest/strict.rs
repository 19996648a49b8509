//! JSON that says each thing once.

use std::{cell::Cell, collections::HashSet, fmt};

use chaos_kitty::limits;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Refuses what a reader of messages would not notice: a byte order mark, keys that come twice in one object, and more
/// objects than a message may be made of.
///
/// # Errors
/// Where and what.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("it begins with a byte order mark".to_owned());
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let objects = Cell::new(0);
    Unambiguous(&objects).deserialize(&mut json).and_then(|()| json.end()).map_err(|error| error.to_string())
}

/// Any JSON without a key that comes twice. Counts the objects.
#[derive(Clone, Copy)]
struct Unambiguous<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Unambiguous<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > limits::SUB_MESSAGES {
            let most = limits::SUB_MESSAGES;
            return Err(A::Error::custom(format_args!("it is made of more than {most} objects")));
        }
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                entries.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format_args!("the key {key:?} comes twice")));
            }
            entries.next_value_seed(self)?;
            seen.insert(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_twice_are_found_at_any_depth_and_like_keys_of_different_objects_are_not() {
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"c":[],"c":{}}}]"#, r#"{"a":null,"\u0061":0.5}"#] {
            assert!(check(text.as_bytes()).unwrap_err().contains("comes twice"), "{text}");
        }
        for text in [r#"{"a":{"a":[{"a":-1},{"a":true}]}}"#, "[]", "\"a\"", "1e3"] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn more_objects_than_a_message_may_be_made_of_are_refused_before_they_cost_memory() {
        let objects = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(check(objects(limits::SUB_MESSAGES).as_bytes()), Ok(()));
        assert!(check(objects(limits::SUB_MESSAGES + 1).as_bytes()).unwrap_err().contains("objects"));
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        assert!(check(b"\xef\xbb\xbf{}").unwrap_err().contains("byte order mark"));
        for (bytes, expected) in
            [(&b"{\n oops"[..], "line 2"), (b"{\"a\": \"\xff\"}", "unicode"), (b"{} {}", "trailing")]
        {
            let error = check(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(check("[".repeat(100_000).as_bytes()).unwrap_err().contains("recursion"));
    }
}
