//! The policy as it is written: read once, at the agent's start, and refused as a whole if anything in it is
//! wrong. An owner who mistyped a limit must not find out by a fault.

use std::{collections::BTreeSet, fs, io, path::Path, str::FromStr, time::Duration};

use chaos_kitty::{
    hours::{self, Days, Window},
    text, units,
    v1::action_kind::Name,
};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de::Error};

use super::{Policy, quiet::Quiet};
use crate::pattern::Pattern;

/// Why a policy can not be applied.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file can not be read.
    #[error("reading the policy {path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// It is not what the policy's documentation describes; the text names line and column.
    #[error("the policy {path} can not be applied: {error}")]
    Malformed {
        /// The file.
        path: String,
        /// Where, and what.
        error: toml::de::Error,
    },
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// It can not be read, or is malformed: with line and column.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let shown = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| PolicyError::Unreadable { path: shown.clone(), error })?;
        let text = text::decode(&bytes).map_err(|what| PolicyError::Unreadable {
            path: shown.clone(),
            error: io::Error::new(io::ErrorKind::InvalidData, what),
        })?;
        text.parse().map_err(|error| PolicyError::Malformed { path: shown, error })
    }
}

impl FromStr for Policy {
    type Err = toml::de::Error;

    fn from_str(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str::<File>(text).map(|file| Self {
            commands: names_commands(file.allow.as_deref()) && !names_commands(Some(&file.deny)),
            allow: file.allow.map(actions),
            deny: actions(file.deny),
            protect: file.protect.into_iter().map(|pattern| pattern.0).collect(),
            max_duration: file.max_duration.map(|duration| duration.0),
            max_memory: file.max_memory.map(|size| size.0),
            max_cpu: file.max_cpu,
            min_free_memory: file.min_free_memory.map(|size| size.0),
            max_faults: file.max_faults,
            quiet: file.quiet.into_iter().map(QuietHours::into_quiet).collect(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    allow: Option<Vec<Word>>,
    #[serde(default)]
    deny: Vec<Word>,
    #[serde(default)]
    protect: Vec<Glob>,
    max_duration: Option<Span>,
    max_memory: Option<Size>,
    max_cpu: Option<u32>,
    min_free_memory: Option<Size>,
    max_faults: Option<usize>,
    #[serde(default)]
    quiet: Vec<QuietHours>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuietHours {
    days: Option<Vec<OnDays>>,
    from: Clock,
    to: Clock,
    zone: Option<Zone>,
}

impl QuietHours {
    fn into_quiet(self) -> Quiet {
        let all =
            |named: Vec<OnDays>| named.into_iter().fold(Days::default(), |days, more| days.with(more.0));
        Quiet {
            window: Window::new(self.days.map_or(Days::ALL, all), self.from.0, self.to.0),
            zone: self.zone.map_or_else(TimeZone::system, |zone| zone.0),
        }
    }
}

/// A type that is written as text and read by a function, so that its mistakes carry their place.
macro_rules! written {
    ($name:ident($type:ty), $read:expr) => {
        struct $name($type);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(&str) -> Result<$type, String> = $read;
                read(&text).map(Self).map_err(|why| D::Error::custom(format!("{text:?}: {why}")))
            }
        }
    };
}

/// `None`: programs of the host, as probes.
type Named = Option<Name>;

fn actions(words: Vec<Word>) -> BTreeSet<Name> {
    words.into_iter().filter_map(|word| word.0).collect()
}

fn names_commands(words: Option<&[Word]>) -> bool {
    words.is_some_and(|words| words.iter().any(|word| word.0.is_none()))
}

written!(Word(Named), |text| {
    if text.eq_ignore_ascii_case("command") {
        return Ok(None);
    }
    let known = Name::from_str_name(&text.to_ascii_uppercase()).filter(|name| *name != Name::Unspecified);
    known.map(Some).ok_or_else(|| "write delay, kill, memory, cpu, gc, error, script or command".to_owned())
});
written!(Glob(Pattern), str::parse);
written!(Span(Duration), units::positive_duration);
written!(Size(u64), units::size);
written!(Clock(u16), hours::clock);
written!(Zone(TimeZone), |text| {
    TimeZone::get(text).map_err(|_| "no such time zone; write one like Europe/Paris or UTC".to_owned())
});
written!(OnDays(Days), str::parse);
