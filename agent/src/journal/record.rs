//! What the lines of a journal say. Pure.
//!
//! A line is `CRC32 NUMBER JSON\n`; the checksum is of everything after it, and numbers count from 1, so that a
//! line that is gone is missed. What has no end of line was never acknowledged: it is cut. Anything else that can
//! not be read is damage.

use std::{fmt, io::Write};

use chaos_kitty::v1;
use chaos_kitty_guard::Undo;
use serde::{Deserialize, Serialize};

/// A fault that may be in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The action's id.
    pub id: String,
    /// The target's id.
    pub target: String,
    /// What was ordered.
    pub action: Option<v1::Action>,
    /// Of the host's boot in which it was injected (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Of the server that ordered it.
    pub epoch: u64,
    /// How it is put back.
    pub undos: Vec<Undo>,
}

impl Held {
    /// Whether something of it is still to be put back after the host was started again.
    pub fn outlives_a_boot(&self) -> bool {
        self.undos.iter().any(Undo::outlives_a_boot)
    }

    /// What is to be put back in this boot of the host.
    pub fn applies_in(&self, boot: &str) -> Vec<Undo> {
        let applies = |undo: &&Undo| self.boot == boot || undo.outlives_a_boot();
        self.undos.iter().filter(applies).cloned().collect()
    }

    /// The commands that a person can run to put it back.
    pub fn commands(&self) -> String {
        let commands: Vec<_> = self.undos.iter().map(Undo::to_string).collect();
        commands.join("; ")
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// It may be in force from now on. Known id: these undos replace the earlier ones.
    Held(Held),
    /// It is put back, or was never injected.
    Over {
        /// The action's id.
        id: String,
    },
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// What was held and is not over, in the order in which it began. With damage: as far as is known.
    pub held: Vec<Held>,
    /// Why this can not be relied on. `None`: it can.
    pub damage: Option<Damage>,
}

/// The first line that can not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Appends an entry as the line of that number.
pub fn write(line: &mut Vec<u8>, number: u64, entry: &Entry) -> std::io::Result<()> {
    let mut text = format!("{number} ").into_bytes();
    serde_json::to_writer(&mut text, entry)?;
    write!(line, "{:08x} ", crc32fast::hash(&text))?;
    line.append(&mut text);
    line.push(b'\n');
    Ok(())
}

/// Reads a journal, whatever it is, of which so many lines were acknowledged.
pub fn read(bytes: &[u8], acknowledged: u64) -> Contents {
    let mut reader = Reader { expected: 1, contents: Contents::default() };
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let (whole, tail) = bytes.split_at(end);
    let mut line = 0;
    for text in whole.split_inclusive(|byte| *byte == b'\n') {
        line += 1;
        reader.take(line, &text[..text.len() - 1]);
    }
    // Written, but for its end: the entry is as good as any. Followed by another byte: that byte was its end.
    if entry(tail).is_ok() {
        line += 1;
        reader.take(line, tail);
    } else if let Some((_, rest)) = tail.split_last()
        && entry(rest).is_ok()
    {
        reader.damaged(line + 1, "its end is another one than was written");
    }
    if reader.expected <= acknowledged {
        reader.damaged(line + 1, "it is missing, and whatever followed it");
    }
    reader.contents
}

struct Reader {
    expected: u64,
    contents: Contents,
}

impl Reader {
    fn take(&mut self, line: usize, text: &[u8]) {
        match entry(text) {
            Err(what) => self.damaged(line, what),
            Ok((number, entry)) => {
                if number != self.expected {
                    self.damaged(line, "lines before it are missing");
                }
                self.expected = number.saturating_add(1);
                self.apply(entry);
            }
        }
    }

    fn apply(&mut self, entry: Entry) {
        let held = &mut self.contents.held;
        match entry {
            Entry::Over { id } => held.retain(|one| one.id != id),
            Entry::Held(one) => match held.iter_mut().find(|earlier| earlier.id == one.id) {
                Some(earlier) => *earlier = one,
                None => held.push(one),
            },
        }
    }

    fn damaged(&mut self, line: usize, what: &'static str) {
        self.expected = self.expected.saturating_add(1);
        self.contents.damage.get_or_insert(Damage { line, what });
    }
}

fn entry(line: &[u8]) -> Result<(u64, Entry), &'static str> {
    const NOT_OURS: &str = "it is none of a journal";
    let (sum, text) = line.split_at_checked(8).ok_or(NOT_OURS)?;
    let text = text.strip_prefix(b" ").ok_or(NOT_OURS)?;
    let sum =
        str::from_utf8(sum).ok().filter(|sum| sum.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')));
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok()).ok_or(NOT_OURS)?;
    if crc32fast::hash(text) != sum {
        return Err("its checksum is wrong");
    }
    let space = text.iter().position(|byte| *byte == b' ').ok_or(NOT_OURS)?;
    let (number, json) = text.split_at(space);
    let number = str::from_utf8(number).ok().and_then(|number| number.parse().ok()).ok_or(NOT_OURS)?;
    let entry = serde_json::from_slice(json).map_err(|_| "another version wrote it")?;
    Ok((number, entry))
}

#[cfg(test)]
mod tests;
