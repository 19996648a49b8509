//! Entries under `process`, `systemd`, `docker` and `kubernetes` in the file: names, and tables.

use std::{fmt, marker::PhantomData};

use chaos_kitty::settings::{Loaded, SettingsError};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use super::Args;
use crate::platform::{docker, kubernetes, process, systemd};

/// Those that a flag names, then those of the file.
pub(super) fn rules<T: Named>(
    loaded: &Loaded<Args>,
    key: &str,
    names: &[String],
) -> Result<Vec<T>, SettingsError> {
    let tables = loaded.tables::<Entry<T>>(key)?;
    let named = names.iter().map(|name| T::named(name));
    Ok(named.chain(tables.into_iter().map(|entry| entry.value.0)).collect())
}

/// Settings of a rule that a name alone can make.
pub(super) trait Named: DeserializeOwned {
    /// The rule of that name.
    fn named(name: &str) -> Self;
}

impl Named for process::rules::RuleSettings {
    fn named(name: &str) -> Self {
        Self::named(name)
    }
}

impl Named for systemd::rules::RuleSettings {
    fn named(name: &str) -> Self {
        Self::named(name)
    }
}

impl Named for docker::rules::RuleSettings {
    fn named(name: &str) -> Self {
        Self::named(name)
    }
}

impl Named for kubernetes::rules::RuleSettings {
    fn named(namespace: &str) -> Self {
        Self::named(namespace)
    }
}

/// An entry under `process`, `systemd`, `docker` or `kubernetes` in the file: a name, or a table.
struct Entry<T>(T);

impl<'de, T: Named> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor(PhantomData))
    }
}

struct EntryVisitor<T>(PhantomData<T>);

impl<'de, T: Named> de::Visitor<'de> for EntryVisitor<T> {
    type Value = Entry<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a target, or a table that describes it")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Entry<T>, E> {
        Ok(Entry(T::named(name)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Entry<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Entry)
    }
}
