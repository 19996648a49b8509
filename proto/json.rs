//! Messages in proto JSON as people write them: with a byte order mark or in UTF-16, with `null` for what is not set, and
//! with durations as on a command line. What goes out is always canonical.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    fmt,
    sync::LazyLock,
};

use prost::{Message, Name};
use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{FILE_DESCRIPTOR_SET, limits, text, units};

const DURATION: &str = ".google.protobuf.Duration";
/// Longest `google.protobuf.Duration`, by its own definition: 10,000 years.
const LONGEST_SECONDS: u64 = 315_576_000_000;

/// Reads a message. No key may come twice in one object, and there may be only so many objects.
///
/// # Errors
/// What is wrong: its line and column, or the path of its field.
pub fn read<M: Name + DeserializeOwned>(bytes: &[u8]) -> Result<M, String> {
    let text = text::decode(bytes)?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let value = Unambiguous(&Cell::new(0)).deserialize(&mut json);
    let value = value.and_then(|value| json.end().map(|()| value));
    let mut value = value.map_err(|error| error.to_string())?;
    canonical(&M::full_name(), &mut value, "")?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (path, what) = (error.path().to_string(), error.inner().to_string());
        // What is unknown is named in the words, so that the path is that of the object around it.
        let around = path.rsplit_once('.').map_or(".", |(around, _)| around);
        match if what.starts_with("unknown field") { around } else { &path } {
            "." | "" => what,
            path => format!("{path}: {what}"),
        }
    })
}

/// Takes `null` away where it stands for a field that is not set, and writes durations as proto JSON has them.
fn canonical(message: &str, value: &mut Value, path: &str) -> Result<(), String> {
    let (Some(fields), Value::Object(object)) = (FIELDS.get(message), value) else { return Ok(()) };
    object.retain(|key, value| !value.is_null() || !fields.contains_key(key.as_str()));
    for (key, value) in object {
        let Some(kind) = fields.get(key.as_str()) else { continue };
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (kind, value) {
            (Kind::One(inner), value) => element(inner, value, &path)?,
            (Kind::Many(inner), Value::Array(elements)) => {
                for (index, value) in elements.iter_mut().enumerate() {
                    element(inner, value, &format!("{path}[{index}]"))?;
                }
            }
            (Kind::Map(inner), Value::Object(entries)) => {
                for (key, value) in entries {
                    element(inner, value, &format!("{path}.{key}"))?;
                }
            }
            // Whoever reads it says what it must be.
            (Kind::Many(_) | Kind::Map(_), _) => {}
        }
    }
    Ok(())
}

fn element(name: &str, value: &mut Value, path: &str) -> Result<(), String> {
    if name != DURATION {
        return canonical(name.trim_start_matches('.'), value, path);
    }
    let Value::String(text) = value else {
        return Err(format!("{path}: it must be a duration in quotes, like \"2m\" or \"120s\""));
    };
    *text = duration(text).map_err(|what| format!("{path}: {text:?}: {what}"))?;
    Ok(())
}

/// A duration as proto JSON writes it. What is written so already stays as it is.
fn duration(text: &str) -> Result<String, String> {
    let number = text.strip_prefix('-').unwrap_or(text).strip_suffix('s').unwrap_or_default();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if digits(whole, 12) && digits(part, 9) {
        return Ok(text.to_owned());
    }
    let read = units::duration(text)?;
    if read.as_secs() > LONGEST_SECONDS {
        return Err("it is longer than 10,000 years".to_owned());
    }
    let exact = format!("{}.{:09}", read.as_secs(), read.subsec_nanos());
    Ok(format!("{}s", exact.trim_end_matches('0').trim_end_matches('.')))
}

/// A field that holds durations, or messages in which there may be some; of the type with this full name.
enum Kind {
    One(String),
    Many(String),
    Map(String),
}

/// By full name of the message, then by either name that the field has in JSON. A field of a scalar type has an empty name.
static FIELDS: LazyLock<HashMap<String, HashMap<String, Kind>>> = LazyLock::new(|| {
    let mut found = HashMap::new();
    // It was made by the compiler of the contract.
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    for file in &files {
        for message in &file.message_type {
            collect(file.package(), message, &mut found);
        }
    }
    found
});

fn collect(parent: &str, message: &DescriptorProto, found: &mut HashMap<String, HashMap<String, Kind>>) {
    let name = format!("{parent}.{}", message.name());
    let mut fields = HashMap::new();
    for field in &message.field {
        for key in [field.name(), field.json_name()] {
            let inner = if field.r#type() == Type::Message { field.type_name() } else { "" };
            let entry = message.nested_type.iter().find(|nested| {
                nested.options.as_ref().is_some_and(|options| options.map_entry())
                    && inner.strip_suffix(nested.name()).is_some_and(|before| before.ends_with('.'))
            });
            let values = entry.and_then(|entry| entry.field.iter().find(|field| field.name() == "value"));
            let kind = match values {
                Some(value) => Kind::Map(value.type_name().to_owned()),
                None if field.label() == Label::Repeated => Kind::Many(inner.to_owned()),
                None => Kind::One(inner.to_owned()),
            };
            fields.insert(key.to_owned(), kind);
        }
    }
    message.nested_type.iter().for_each(|nested| collect(&name, nested, found));
    found.insert(name, fields);
}

/// Any JSON without a key that comes twice. Counts the objects.
#[derive(Clone, Copy)]
struct Unambiguous<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Unambiguous<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(element) = elements.next_element_seed(self)? {
            read.push(element);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.set(self.0.get() + 1);
        if self.0.get() > limits::SUB_MESSAGES {
            let most = limits::SUB_MESSAGES;
            return Err(A::Error::custom(format_args!("it is made of more than {most} objects")));
        }
        let mut read = Map::new();
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {key:?} comes twice")));
            }
            read.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{ExperimentSuite, UnleashRequest};

    fn suite(json: &str) -> Result<ExperimentSuite, String> {
        read(json.as_bytes())
    }

    #[test]
    fn a_duration_is_read_as_on_a_command_line_wherever_it_stands() {
        for (text, seconds, nanos) in [
            ("2m", 120, 0),
            ("120s", 120, 0),
            ("PT2M", 120, 0),
            ("1h30m", 5400, 0),
            ("500ms", 0, 500_000_000),
            ("-1s", -1, 0),
        ] {
            let json = format!(
                r#"{{"duration": "{text}", "method_parameters": {{"delay": {{"minimumDuration": "{text}"}}}}}}"#
            );
            let read = suite(&json).unwrap_or_else(|error| panic!("{text}: {error}"));
            let expected = pbjson_types::Duration { seconds, nanos };
            assert_eq!(read.duration, Some(expected), "{text}");
            assert_eq!(read.method_parameters["delay"].minimum_duration, Some(expected), "{text}");
        }
        let request: UnleashRequest =
            read(br#"{"target": "a", "action": {"duration": "2m", "delay": {"perRequest": "5ms"}}}"#)
                .unwrap();
        assert_eq!(request.action.unwrap().duration.unwrap().seconds, 120);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        for (json, path, words) in [
            (r#"{"duration": "soon"}"#, "duration: ", "write it like"),
            (r#"{"duration": 120}"#, "duration: ", "in quotes"),
            (r#"{"duration": "--9223372036854775808s"}"#, "duration: ", "write it like"),
            (r#"{"duration": "9999999999999999999s"}"#, "duration: ", "10,000 years"),
            (
                r#"{"methodParameters": {"delay": {"minimumDuration": "x"}}}"#,
                "methodParameters.delay.minimumDuration: ",
                "\"x\"",
            ),
            (
                r#"{"experimentCriteria": [{"experimentMethods": "delay"}]}"#,
                "experimentCriteria[0].experimentMethods: ",
                "sequence",
            ),
            (r#"{"platformType": 7}"#, "platformType: ", "string"),
            (r#"{"platform": "x"}"#, "unknown field `platform`", ""),
            (r#"{"platform": null}"#, "unknown field `platform`", ""),
            (r#"{"name": "a", "name": "b"}"#, "", "comes twice"),
            ("{\n oops", "", "line 2"),
            ("{} {}", "", "trailing"),
        ] {
            let error = suite(json).unwrap_err();
            assert!(error.contains(path) && error.contains(words), "{json}: {error}");
        }
        assert!(suite(&"[".repeat(100_000)).unwrap_err().contains("recursion"));
    }

    #[test]
    fn null_is_a_field_that_is_not_set() {
        let json = r#"{"name": null, "seed": null, "minSurvivors": null, "duration": null, "methodParameters": null,
            "dryRun": null, "experimentCriteria": [{"containerIdentifier": "x", "specificContainerTargets": null}]}"#;
        let plain = r#"{"experimentCriteria": [{"containerIdentifier": "x"}]}"#;
        assert_eq!(suite(json), suite(plain));
        let request: UnleashRequest =
            read(br#"{"target": "a", "selector": null, "action": {"delay": {}, "kill": null}}"#).unwrap();
        assert!(request.choice.is_some());
        assert!(suite(r#"{"experimentCriteria": [null]}"#).is_err(), "an element of a list has no default");
    }

    #[test]
    fn documents_of_any_editor_are_read() {
        let json = r#"{"platformType": "ProcessPlatform"}"#;
        let wide: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain(json.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for bytes in [json.as_bytes().to_vec(), [b"\xef\xbb\xbf", json.as_bytes()].concat(), wide] {
            assert_eq!(read::<ExperimentSuite>(&bytes).unwrap().platform_type, "ProcessPlatform");
        }
        assert!(read::<ExperimentSuite>(b"{\"name\": \"\xff\"}").unwrap_err().contains("0xff"));
    }
}
