//! The file: each key a flag, each mistake with its line.

use std::{
    any::TypeId,
    borrow::Cow,
    collections::BTreeMap,
    error::Error,
    fmt, fs,
    ops::Range,
    path::{Path, PathBuf},
};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue, ValueDeserializer},
};

use super::{Entry, is_list, is_setting, is_switch};
use crate::text;

/// A file that was read, for its reserved tables.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    text: String,
}

/// Something wrong in a file.
#[derive(Debug)]
pub(super) struct Mistake {
    path: PathBuf,
    /// From 1; 0: the file as a whole.
    pub(super) line: usize,
    what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.path.display(), self.what),
        }
    }
}

/// What the file says about one flag.
pub(super) struct Values {
    flag: String,
    values: Vec<String>,
    line: usize,
}

impl Values {
    /// Puts them below the flag and its variable: they are the default now.
    pub(super) fn below(command: Command, values: Self) -> Command {
        let Self { flag, values, .. } = values;
        command.mut_arg(flag, |arg| arg.required(false).default_values(values))
    }
}

impl File {
    /// Reads the file and holds every key against the command's flags.
    pub(super) fn read(
        path: PathBuf,
        command: &Command,
        reserved: &[&str],
    ) -> Result<(Self, Vec<Values>), Vec<Mistake>> {
        let text = document(&path).map_err(|what| vec![Mistake { path: path.clone(), line: 0, what }])?;
        let file = Self { path, text };
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        let mistakes = errors.iter().map(|error| file.toml_mistake(error)).collect();
        let checker = command.clone().mut_args(|arg| arg.env(None::<&str>).required(false));
        let mut reader = Reader { file: &file, checker, values: BTreeMap::new(), mistakes };
        for (key, value) in in_order(table.get_ref()) {
            if !reserved.contains(&key.get_ref().as_ref()) {
                reader.key(key.get_ref(), key.span(), value);
            }
        }
        let Reader { values, mistakes, .. } = reader;
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok((file, values.into_values().collect()))
    }

    /// The tables under a reserved key, each read as a `T`.
    pub(super) fn tables<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<Entry<T>>, Vec<Mistake>> {
        let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
        for table in self.elements(key) {
            let place = format!("{}:{}", self.path.display(), self.line(&table.span()));
            match T::deserialize(ValueDeserializer::from(table)) {
                Ok(value) => entries.push(Entry { place, value }),
                Err(error) => mistakes.push(self.toml_mistake(&error)),
            }
        }
        if mistakes.is_empty() { Ok(entries) } else { Err(mistakes) }
    }

    /// The reserved tables as they are in the file.
    pub(super) fn reserved(&self, keys: &[&str]) -> toml::Table {
        let whole: toml::Table = toml::from_str(&self.text).unwrap_or_default();
        whole.into_iter().filter(|(key, _)| keys.contains(&key.as_str())).collect()
    }

    fn elements(&self, key: &str) -> Vec<Spanned<DeValue<'_>>> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let found = table.into_inner().into_iter().find(|(name, _)| name.get_ref() == key);
        let Some((_, value)) = found else { return Vec::new() };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(elements) => elements.into_iter().collect(),
            other => vec![Spanned::new(span, other)],
        }
    }

    fn toml_mistake(&self, error: &toml::de::Error) -> Mistake {
        self.mistake(&error.span().unwrap_or(0..0), error.message())
    }

    fn mistake(&self, span: &Range<usize>, what: impl Into<String>) -> Mistake {
        Mistake { path: self.path.clone(), line: self.line(span), what: what.into() }
    }

    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

struct Reader<'a> {
    file: &'a File,
    /// The command without variables and without required flags: it judges one value at a time.
    checker: Command,
    values: BTreeMap<String, Values>,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// One key, `path` being the names of its sections and its own, joined by `-`.
    fn key(&mut self, path: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let flag = self.checker.get_arguments().find(|arg| is_setting(arg) && arg.get_long() == Some(path));
        match (flag.cloned(), value.get_ref()) {
            (Some(arg), _) => self.flag(&arg, path, span, value),
            (None, DeValue::Table(section)) => {
                for (key, value) in in_order(section) {
                    self.key(&format!("{path}-{}", key.get_ref()), key.span(), value);
                }
            }
            (None, _) => {
                let what = format!("{path}: no such setting{}", self.suggestion(path));
                self.complain(&span, what);
            }
        }
    }

    fn flag(&mut self, arg: &Arg, path: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let values = match value.get_ref() {
            DeValue::Array(elements) if is_list(arg) => {
                elements.iter().filter_map(|element| self.scalar(arg, path, element)).collect()
            }
            _ => self.scalar(arg, path, value).into_iter().collect(),
        };
        let line = self.file.line(&span);
        let values = Values { flag: arg.get_id().to_string(), values, line };
        if let Some(first) = self.values.insert(path.to_owned(), values) {
            self.complain(&span, format!("{path}: given already in line {}", first.line));
        }
    }

    /// One value as the flag takes it on the command line.
    fn scalar(&mut self, arg: &Arg, path: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let parser = arg.get_value_parser().type_id();
        let textual = parser == TypeId::of::<String>() || parser == TypeId::of::<PathBuf>();
        let text = match value.get_ref() {
            DeValue::Boolean(given) if is_switch(arg) => return Some(given.to_string()),
            DeValue::String(text) if !is_switch(arg) => text.to_string(),
            DeValue::Integer(number) if !is_switch(arg) && !textual => number.as_str().to_owned(),
            DeValue::Float(number) if !is_switch(arg) && !textual => number.as_str().to_owned(),
            other => {
                let wanted = match (is_switch(arg), is_list(arg)) {
                    (true, _) => "true or false",
                    (false, true) => "an array of values",
                    (false, false) => "one value",
                };
                let what = format!("{path}: it is {}, and must be {wanted}", article(other.type_str()));
                self.complain(&value.span(), what);
                return None;
            }
        };
        let refusal = self.refusal(path, &text);
        if let Some(refusal) = &refusal {
            self.complain(&value.span(), format!("{path}: {refusal}"));
        }
        refusal.is_none().then_some(text)
    }

    /// Why the flag does not take this value.
    fn refusal(&self, path: &str, value: &str) -> Option<String> {
        let line = [self.checker.get_name().to_owned(), format!("--{path}={value}")];
        let error = self.checker.clone().try_get_matches_from(line).err()?;
        let reason = match (error.kind(), error.source()) {
            (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(source)) => source.to_string(),
            (ErrorKind::InvalidValue, None) => match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(valid)) => format!("it must be one of {}", valid.join(", ")),
                _ => "no such value".to_owned(),
            },
            _ => return None,
        };
        Some(format!("{value:?}: {reason}"))
    }

    /// The flag that clap would suggest.
    fn suggestion(&self, path: &str) -> String {
        let line = [self.checker.get_name().to_owned(), format!("--{path}=")];
        let error = self.checker.clone().try_get_matches_from(line).err();
        match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
            Some(ContextValue::String(flag)) => {
                format!("; did you mean {}?", flag.trim_start_matches("--"))
            }
            _ => String::new(),
        }
    }

    fn complain(&mut self, span: &Range<usize>, what: String) {
        let mistake = self.file.mistake(span, what);
        self.mistakes.push(mistake);
    }
}

fn document(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("it can not be read: {error}"))?;
    text::decode(&bytes).map(Cow::into_owned)
}

/// The entries as they stand in the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}
