//! Walks an undecoded message: how much it would take in memory, and whether its fields keep their bounds.

use prost::{
    Message as _,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};

use super::{
    Bound,
    schema::{self, Field, Kind, MESSAGES},
};
use crate::{Code, Problem, Timestamp};

/// Fields of a message at the most; a test holds the contract to it.
pub(super) const FIELDS: usize = 64;

/// What an element of a list of texts takes besides its bytes.
const TEXT: usize = size_of::<String>();
const NUMBER: usize = 8;

/// What one message may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Messages inside of it, those of lists and entries of maps included.
    pub(super) messages: usize,
    /// Bytes in memory, estimated.
    pub(super) memory: usize,
}

/// One walk.
pub(super) struct Scan {
    room: Room,
    /// Whether fields are held against the table.
    by_field: bool,
}

impl Scan {
    pub(super) const fn new(room: Room, by_field: bool) -> Self {
        Self { room, by_field }
    }

    /// Walks the message at this place of the schema.
    ///
    /// # Errors
    /// The first thing that is wrong, with the path of its field.
    pub(super) fn message(&mut self, at: usize, mut bytes: &[u8]) -> Result<(), Wrong> {
        let fields = MESSAGES[at].fields;
        let bounds = schema::bounds(at);
        let mut seen = [0_usize; FIELDS];
        while bytes.has_remaining() {
            let (number, wire) = decode_key(&mut bytes).map_err(|_| Wrong::malformed())?;
            let Ok(place) = fields.binary_search_by_key(&number, |field| field.number) else {
                skip(wire, &mut bytes)?;
                continue;
            };
            let field = &fields[place];
            let bound = bounds.get(place).copied().flatten().filter(|_| self.by_field);
            self.value(field, wire, bound, &mut bytes, &mut seen[place])
                .map_err(|wrong| wrong.inside(field, seen[place]))?;
        }
        Ok(())
    }

    fn value(
        &mut self,
        field: &Field,
        wire: WireType,
        bound: Option<Bound>,
        bytes: &mut &[u8],
        seen: &mut usize,
    ) -> Result<(), Wrong> {
        let mut new = 1;
        match (field.kind, wire) {
            (Kind::Varint, WireType::Varint) => drop(varint(bytes)?),
            (Kind::Fixed(size), WireType::ThirtyTwoBit | WireType::SixtyFourBit) => drop(take(bytes, size)?),
            (Kind::Varint, WireType::LengthDelimited) if field.many => {
                new = block(bytes)?.iter().filter(|byte| **byte < 0x80).count();
                self.spend(new.saturating_mul(NUMBER))?;
            }
            (Kind::Fixed(size), WireType::LengthDelimited) if field.many => new = block(bytes)?.len() / size,
            (kind, WireType::LengthDelimited) => self.block(kind, bound, block(bytes)?)?,
            _ => return Err(Wrong::malformed()),
        }
        *seen = seen.saturating_add(new);
        match bound.and_then(Bound::most) {
            Some(most) if field.many && *seen > most => {
                Err(Wrong::invalid(format!("it has more than {most} entries")))
            }
            _ => Ok(()),
        }
    }

    fn block(&mut self, kind: Kind, bound: Option<Bound>, block: &[u8]) -> Result<(), Wrong> {
        match kind {
            Kind::Text => {
                self.spend(TEXT.saturating_add(block.len()))?;
                match bound.and_then(Bound::longest) {
                    Some(longest) if block.len() > longest => Err(too_long(longest)),
                    _ => Ok(()),
                }
            }
            Kind::Span => {
                self.spend(size_of::<pbjson_types::Duration>())?;
                let span = pbjson_types::Duration::decode(block).map_err(|_| Wrong::malformed())?;
                bound.map_or(Ok(()), |bound| check_span(&span, bound))
            }
            Kind::Moment => {
                self.spend(size_of::<Timestamp>())?;
                let moment = Timestamp::decode(block).map_err(|_| Wrong::malformed())?;
                if bound.is_some() && !moment.is_sane() {
                    let Timestamp { seconds, nanos } = moment;
                    return Err(Wrong::invalid(format!(
                        "{seconds} s and {nanos} ns is no time between the years 1970 and 9999"
                    )));
                }
                Ok(())
            }
            Kind::Message(at) => {
                self.room.messages = self.room.messages.checked_sub(1).ok_or_else(Wrong::too_many)?;
                self.spend(MESSAGES[at].size)?;
                if let Some(Bound::Map(_, key, value)) = bound {
                    check_entry(block, key, value)?;
                }
                self.message(at, block)
            }
            Kind::Varint | Kind::Fixed(_) => Err(Wrong::malformed()),
        }
    }

    fn spend(&mut self, memory: usize) -> Result<(), Wrong> {
        self.room.memory = self.room.memory.checked_sub(memory).ok_or_else(Wrong::too_large)?;
        Ok(())
    }
}

/// The texts of a map's entry. Values that are no text have no bound here.
fn check_entry(mut entry: &[u8], key: usize, value: usize) -> Result<(), Wrong> {
    while entry.has_remaining() {
        let (number, wire) = decode_key(&mut entry).map_err(|_| Wrong::malformed())?;
        if wire != WireType::LengthDelimited {
            skip(wire, &mut entry)?;
            continue;
        }
        let length = block(&mut entry)?.len();
        match number {
            1 if length > key => return Err(too_long(key)),
            2 if value > 0 && length > value => return Err(too_long(value)),
            _ => {}
        }
    }
    Ok(())
}

fn check_span(span: &pbjson_types::Duration, bound: Bound) -> Result<(), Wrong> {
    let pbjson_types::Duration { seconds, nanos } = *span;
    let (Ok(whole), 0..1_000_000_000) = (u64::try_from(seconds), nanos) else {
        return Err(Wrong::invalid(format!("{seconds} s and {nanos} ns is no time span")));
    };
    let Bound::Span(longest) = bound else { return Ok(()) };
    if whole > longest || (whole == longest && nanos > 0) {
        return Err(Wrong {
            hint: "ask for less",
            ..Wrong::new(Code::DurationTooLong, format!("{whole} s is over the maximum of {longest} s"))
        });
    }
    Ok(())
}

fn too_long(longest: usize) -> Wrong {
    Wrong::invalid(format!("it is longer than {longest} bytes"))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Wrong> {
    decode_varint(bytes).map_err(|_| Wrong::malformed())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Wrong> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(Wrong::malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn block<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Wrong> {
    let length = varint(bytes)?;
    take(bytes, usize::try_from(length).map_err(|_| Wrong::malformed())?)
}

/// A field that only later versions know. They have no groups.
fn skip(wire: WireType, bytes: &mut &[u8]) -> Result<(), Wrong> {
    match wire {
        WireType::Varint => varint(bytes).map(drop),
        WireType::SixtyFourBit => take(bytes, 8).map(drop),
        WireType::ThirtyTwoBit => take(bytes, 4).map(drop),
        WireType::LengthDelimited => block(bytes).map(drop),
        WireType::StartGroup | WireType::EndGroup => Err(Wrong::malformed()),
    }
}

/// What is wrong with a message, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    code: Code,
    /// The field's path. Empty: the message as a whole.
    path: String,
    what: String,
    hint: &'static str,
}

impl Wrong {
    fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, path: String::new(), what: what.into(), hint: "" }
    }

    fn invalid(what: String) -> Self {
        Self::new(Code::InvalidArgument, what)
    }

    fn malformed() -> Self {
        Self::new(Code::ProtocolViolation, "it is no message of this kind")
    }

    fn too_many() -> Self {
        let what = format!("it is made of more than {} messages", crate::limits::SUB_MESSAGES);
        Self { hint: "send long lists in parts", ..Self::new(Code::TooLarge, what) }
    }

    fn too_large() -> Self {
        Self {
            hint: "send long lists in parts",
            ..Self::new(Code::TooLarge, "it would take too much memory")
        }
    }

    /// The same, seen from the message around the field's value of that number.
    fn inside(mut self, field: &Field, number: usize) -> Self {
        // Of what is wrong with the whole, the place where it was noticed says nothing.
        if matches!(self.code, Code::TooLarge | Code::ProtocolViolation) {
            return self;
        }
        let place = match field.kind {
            Kind::Message(_) if field.many && !self.path.is_empty() => format!("{}[{number}]", field.name),
            _ => field.name.to_owned(),
        };
        self.path = if self.path.is_empty() { place } else { format!("{place}.{}", self.path) };
        self
    }

    pub(super) fn problem(self, message: &str) -> Problem {
        let place = if self.path.is_empty() { message } else { &self.path };
        Problem::new(self.code, format!("{place}: {}", self.what)).hint(self.hint)
    }
}
