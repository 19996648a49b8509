//! Every field of a message with every value that somebody may have forgotten, made by walking the compiled schema. No
//! part of the crate: tests of several crates include this file.

use std::collections::BTreeMap;

use chaos_kitty::FILE_DESCRIPTOR_SET;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    field_descriptor_proto::Type,
};

/// A message with one field at an extreme.
#[derive(Clone, Debug)]
pub(crate) struct Extreme {
    /// The field's path and its value, for who reads what failed.
    pub(crate) what: String,
    /// To be appended to a message that is valid without it.
    pub(crate) bytes: Vec<u8>,
}

/// The compiled schema.
pub(crate) struct Schema {
    messages: BTreeMap<String, DescriptorProto>,
    methods: Vec<MethodDescriptorProto>,
}

impl Schema {
    pub(crate) fn read() -> Self {
        fn collect(parent: &str, message: &DescriptorProto, into: &mut BTreeMap<String, DescriptorProto>) {
            let name = format!("{parent}.{}", message.name());
            message.nested_type.iter().for_each(|nested| collect(&name, nested, into));
            into.insert(name, message.clone());
        }
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the schema is whole");
        let mut schema = Self { messages: BTreeMap::new(), methods: Vec::new() };
        for file in set.file {
            let package = format!(".{}", file.package());
            file.message_type.iter().for_each(|message| collect(&package, message, &mut schema.messages));
            schema.methods.extend(file.service.into_iter().flat_map(|service| service.method));
        }
        schema
    }

    /// The calls of the service.
    #[allow(dead_code, reason = "not everybody who includes this calls it")]
    pub(crate) fn methods(&self) -> &[MethodDescriptorProto] {
        &self.methods
    }

    /// Each field below the message of that name, once with each of its extremes.
    pub(crate) fn extremes(&self, message: &str) -> Vec<Extreme> {
        let mut found = Vec::new();
        for field in &self.messages[message].field {
            let type_name = field.type_name();
            let inner = match type_name {
                ".google.protobuf.Duration" => {
                    numbers(&[i64::MIN, -1, 0, 1, 315_576_000_000, 315_576_000_001, i64::MAX])
                }
                ".google.protobuf.Timestamp" => {
                    numbers(&[i64::MIN, -62_135_596_800, -1, 0, 253_402_300_799, 253_402_300_800, i64::MAX])
                }
                _ if field.r#type() == Type::Message => {
                    let empty = Extreme { what: " empty".to_owned(), bytes: Vec::new() };
                    std::iter::once(empty).chain(self.extremes(type_name)).collect()
                }
                _ => {
                    found.extend(scalars(field));
                    continue;
                }
            };
            for Extreme { what, bytes } in inner {
                let what = format!(".{}{what}", field.name());
                found.push(Extreme { what, bytes: block(field, &bytes) });
            }
        }
        found
    }
}

/// A time span or moment, with parts of a second that fit and that do not.
fn numbers(seconds: &[i64]) -> Vec<Extreme> {
    let of = |seconds: i64, nanos: i32| {
        let time = prost_types::Duration { seconds, nanos };
        Extreme { what: format!(" = {seconds} s {nanos} ns"), bytes: time.encode_to_vec() }
    };
    let parts = [0, 1, -1, 999_999_999, 1_000_000_000, i32::MIN, i32::MAX];
    let ends = [i64::MIN, -1, 0, i64::MAX];
    let with_parts = ends.iter().flat_map(|seconds| parts.iter().map(|nanos| of(*seconds, *nanos)));
    seconds.iter().map(|seconds| of(*seconds, 0)).chain(with_parts).collect()
}

fn scalars(field: &FieldDescriptorProto) -> Vec<Extreme> {
    let texts = || {
        let long = |length: usize| ("x".repeat(length).into_bytes(), format!("{length} bytes"));
        let mut texts: Vec<_> =
            ["", " ", "~", "%00", "a/../b", "\0", "\u{1b}[2J\u{202e}\n", "é", "-1", "9223372036854775808"]
                .map(|text| (text.as_bytes().to_vec(), format!("{text:?}")))
                .into();
        texts.extend([128, 129, 253, 254, 506, 507, 1024, 1025, 4096, 16_385, 300_000].map(long));
        texts.push((vec![0xff, 0xfe], "no UTF-8".to_owned()));
        texts
    };
    let value = |what: String, bytes: Vec<u8>| Extreme { what: format!(".{} = {what}", field.name()), bytes };
    let number = field.number().unsigned_abs();
    match field.r#type() {
        Type::String | Type::Bytes => {
            texts().into_iter().map(|(text, what)| value(what, block(field, &text))).collect()
        }
        Type::Double => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, 0.5, 1e308, 5e-324]
            .into_iter()
            .map(|double| {
                let mut bytes = Vec::new();
                prost::encoding::double::encode(number, &double, &mut bytes);
                value(double.to_string(), bytes)
            })
            .collect(),
        _ => [0, 1, 2, 63, 1 << 16, i32::MAX as u64, u64::from(u32::MAX), i64::MAX as u64, u64::MAX]
            .into_iter()
            .map(|integer| {
                let mut bytes = Vec::new();
                encode_key(number, WireType::Varint, &mut bytes);
                encode_varint(integer, &mut bytes);
                value(integer.to_string(), bytes)
            })
            .collect(),
    }
}

fn block(field: &FieldDescriptorProto, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(field.number().unsigned_abs(), WireType::LengthDelimited, &mut bytes);
    encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend_from_slice(inner);
    bytes
}
