//! The contract's messages as a walk over undecoded bytes needs them, made by the build script.

use std::{collections::HashMap, sync::LazyLock};

use super::{Bound, table::TABLE};

/// What the names in the table leave out.
const PACKAGE: &str = "chaoskitty.v1.";

/// Memory of a map's entry: two texts, and its part of the tree.
const MAP_ENTRY: usize = 64;

/// A message of the contract.
#[derive(Debug)]
pub(super) struct Message {
    /// Its full name.
    pub(super) name: &'static str,
    /// Bytes of memory that an empty one takes.
    pub(super) size: usize,
    /// A unary call's.
    pub(super) is_request: bool,
    /// By number.
    pub(super) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) many: bool,
    pub(super) kind: Kind,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number of variable length.
    Varint,
    /// A number of so many bytes.
    Fixed(usize),
    /// Text or bytes.
    Text,
    /// A `google.protobuf.Duration`.
    Span,
    /// A `google.protobuf.Timestamp`.
    Moment,
    /// The message, or the map's entry, at this place of [`MESSAGES`].
    Message(usize),
}

include!(concat!(env!("OUT_DIR"), "/chaoskitty.schema.rs"));

/// The bounds of each message's fields, in the order of [`MESSAGES`] and of its fields.
static BOUNDS: LazyLock<Vec<Vec<Option<Bound>>>> = LazyLock::new(|| {
    let rows: HashMap<&str, Bound> = TABLE.iter().copied().collect();
    let of = |message: &Message, field: &Field| {
        let name = message.name.strip_prefix(PACKAGE).unwrap_or(message.name);
        rows.get(format!("{name}.{}", field.name).as_str()).copied()
    };
    let all = |message: &Message| message.fields.iter().map(|field| of(message, field)).collect();
    MESSAGES.iter().map(all).collect()
});

/// The message of that full name.
pub(super) fn message(name: &str) -> Option<usize> {
    MESSAGES.binary_search_by(|message| message.name.cmp(name)).ok()
}

/// The bounds of a message's fields, in their order.
pub(super) fn bounds(message: usize) -> &'static [Option<Bound>] {
    BOUNDS.get(message).map_or(&[], Vec::as_slice)
}
