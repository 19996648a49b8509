//! Messages with extremes in one to three of their fields, by reflection over the schema.

use std::collections::{BTreeSet, HashMap};

use chaos_kitty::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Most bytes of a message: a server takes no larger one from anybody.
const MOST: usize = 900 << 10;

const INTEGERS: [i64; 12] = [
    0,
    1,
    -1,
    2,
    999_999_999,
    1_000_000_000,
    315_576_000_001,
    253_402_300_800,
    i64::MAX,
    i64::MIN,
    1 << 31,
    -62_135_596_801,
];

pub(crate) const TEXTS: [&str; 14] = [
    "",
    " ",
    "\0",
    "\u{1b}]0;pwned\u{7}",
    "\u{202e}gnp",
    "../../etc/passwd",
    "a\nb\r\nc",
    "%00%s%n",
    "' OR 1=1 --",
    "🐈",
    "*",
    "ghosts",
    "unix:/proc/self/mem",
    "18446744073709551616",
];

/// The schema.
pub(crate) struct Extremes(DescriptorPool);

impl Extremes {
    pub(crate) fn new() -> Self {
        Self(DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap())
    }

    /// Names of all calls of the service.
    pub(crate) fn rpcs(&self) -> BTreeSet<String> {
        let service = self.0.get_service_by_name("chaoskitty.v1.Chaos").unwrap();
        service.methods().map(|method| method.name().to_owned()).collect()
    }

    /// A message like this one.
    pub(crate) fn of<M: Message + Default>(&self, name: &str, valid: &M, random: &mut ChaCha8Rng) -> M {
        let descriptor = self.0.get_message_by_name(&format!("chaoskitty.v1.{name}")).unwrap();
        loop {
            let mut message = DynamicMessage::decode(descriptor.clone(), &valid.encode_to_vec()[..]).unwrap();
            for _ in 0..random.random_range(1..=3) {
                change(&mut message, random, 0);
            }
            if message.encoded_len() < MOST {
                return M::decode(&message.encode_to_vec()[..]).unwrap();
            }
        }
    }
}

/// Changes one field, of what is there already more often than not.
fn change(message: &mut DynamicMessage, random: &mut ChaCha8Rng, depth: u32) {
    let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    let present: Vec<_> = fields.iter().filter(|field| message.has_field(field)).cloned().collect();
    let among = if !present.is_empty() && random.random_bool(0.6) { &present } else { &fields };
    let Some(field) = among.choose(random).cloned() else { return };
    if message.has_field(&field) && depth < 6 && random.random_bool(0.7) {
        match message.get_field_mut(&field) {
            Value::Message(inner) => return change(inner, random, depth + 1),
            Value::List(elements) => {
                if let Some(Value::Message(inner)) = elements.first_mut() {
                    return change(inner, random, depth + 1);
                }
            }
            _ => {}
        }
    }
    let value = value(&field, random, depth);
    message.set_field(&field, value);
}

fn value(field: &FieldDescriptor, random: &mut ChaCha8Rng, depth: u32) -> Value {
    let many = *[0, 1, 2, 65, 1000].choose(random).unwrap();
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map has entries") };
        let key = |number: usize, random: &mut ChaCha8Rng| match entry.map_entry_key_field().kind() {
            Kind::String => MapKey::String(format!("{}{number}", TEXTS.choose(random).unwrap())),
            _ => MapKey::U64(number as u64),
        };
        let of = entry.map_entry_value_field();
        let entries: HashMap<_, _> = (0..many.min(if depth == 0 { 100 } else { 2 }))
            .map(|number| (key(number, random), one(&of.kind(), random, depth)))
            .collect();
        return Value::Map(entries);
    }
    if field.is_list() {
        let element = one(&field.kind(), random, depth);
        // Nested ones would take gigabytes, only to be thrown away.
        let fit = MOST / size(&element);
        return Value::List(vec![element; many.min(fit)]);
    }
    one(&field.kind(), random, depth)
}

/// About how many bytes a value takes; at least one.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Message(message) => message.encoded_len(),
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 4,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any number will do")]
fn one(kind: &Kind, random: &mut ChaCha8Rng, depth: u32) -> Value {
    let integer = *INTEGERS.choose(random).unwrap();
    match kind {
        Kind::Double => {
            Value::F64(*[f64::NAN, f64::INFINITY, -1.0, 0.0, f64::MAX, 1e-320].choose(random).unwrap())
        }
        Kind::Float => Value::F32(f32::NAN),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer as u64),
        Kind::Bool => Value::Bool(random.random()),
        Kind::String => Value::String(text(random)),
        Kind::Bytes => Value::Bytes(vec![0xff; *[0, 1, 300_000].choose(random).unwrap()].into()),
        Kind::Enum(_) => Value::EnumNumber(*[0, 1, 2, 7, 99, -1, i32::MAX].choose(random).unwrap()),
        Kind::Message(descriptor) => Value::Message(message(descriptor, random, depth)),
    }
}

fn text(random: &mut ChaCha8Rng) -> String {
    let text = *TEXTS.choose(random).unwrap();
    match random.random_range(0..8) {
        0 => "x".repeat(*[254, 1025, 65_000].choose(random).unwrap()),
        1 => text.repeat(300),
        _ => text.to_owned(),
    }
}

fn message(descriptor: &MessageDescriptor, random: &mut ChaCha8Rng, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if depth < 4 {
        for _ in 0..random.random_range(0..3) {
            change(&mut message, random, depth + 1);
        }
    }
    message
}
