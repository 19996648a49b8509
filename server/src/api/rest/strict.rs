//! JSON that says each thing once.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Refuses what a reader of messages would not notice: a byte order mark, and keys that come twice in one object.
///
/// # Errors
/// Where and what.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err("it begins with a byte order mark".to_owned());
    }
    serde_json::from_slice::<Unambiguous>(bytes).map(drop).map_err(|error| error.to_string())
}

/// Any JSON without a key that comes twice.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unambiguous)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while elements.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                entries.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom(format_args!("the key {key:?} comes twice")));
            }
            entries.next_value::<Self>()?;
            seen.insert(key);
        }
        Ok(self)
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
