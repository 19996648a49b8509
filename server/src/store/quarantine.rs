//! What can not be read is set aside: a row that can not be decoded, or that the server can not go on with, moves to
//! the table `quarantine` and is told of; nothing else waits for it.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    page::{Entry, Page},
    v1,
};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{Store, experiment::timestamp, sql::Write};
use crate::task::lock;

/// Records that are told of, the first ones; the table has them all.
const TOLD: usize = 100;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An action.
    Action,
    /// An operation.
    Operation,
    /// What was asked for as a suite, with what was recorded of it.
    Suite,
    /// An experiment.
    Experiment,
    /// A single value, e.g. the schedule.
    Value,
    /// Not in the store: the halt's latch.
    Latch,
}

impl Kind {
    /// Every kind that the store has.
    const STORED: [Self; 5] = [Self::Action, Self::Operation, Self::Suite, Self::Experiment, Self::Value];

    const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Operation => "operation",
            Self::Suite => "suite",
            Self::Experiment => "experiment",
            Self::Value => "value",
            Self::Latch => "latch",
        }
    }

    /// Its table, the column of its key, what is kept of it, and its subject.
    const fn columns(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Action => ("action", "id", "status", "CASE over WHEN 0 THEN target_id ELSE '' END"),
            Self::Operation => ("operation", "name", "operation", "''"),
            Self::Suite => ("suite", "at", "CAST(hex(suite) || ' ' || hex(record) AS BLOB)", "''"),
            Self::Experiment => ("experiment", "id", "experiment", "''"),
            Self::Value | Self::Latch => ("meta", "key", "CAST(value AS BLOB)", "''"),
        }
    }
}

/// Why a row can not be read.
#[derive(Clone, Debug)]
pub(super) struct Unreadable {
    pub(super) kind: Kind,
    pub(super) key: String,
    pub(super) reason: String,
}

/// A row's message, or why there is none.
pub(super) type Read<T> = Result<T, Unreadable>;

/// A page, and what could not be read on the way.
pub(super) type PageRead<T> = (Page<T>, Vec<Unreadable>);

/// Reads a page of rows, no further than needed.
pub(super) fn page<T: Entry>(
    rows: impl IntoIterator<Item = rusqlite::Result<Read<T>>>,
    size: u32,
) -> rusqlite::Result<PageRead<T>> {
    let mut unreadable = Vec::new();
    let readable = rows.into_iter().filter_map(|row| match row {
        Ok(Ok(entry)) => Some(Ok(entry)),
        Ok(Err(why)) => {
            unreadable.push(why);
            None
        }
        Err(error) => Some(Err(error)),
    });
    let page = Page::read(readable, size)?;
    Ok((page, unreadable))
}

/// Reads a row: the message first, then its key.
pub(super) fn decode<T: Message + Default>(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Read<T>> {
    decode_at(kind, row, 0)
}

/// The same with the message in another column.
pub(super) fn decode_at<T: Message + Default>(
    kind: Kind,
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Read<T>> {
    let key = match row.get_ref(1)? {
        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
        other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
    };
    let blob = row.get_ref(column)?.as_blob().map_err(|error| error.to_string());
    let read = blob.and_then(|blob| T::decode(blob).map_err(|error| error.to_string()));
    Ok(read.map_err(|reason| Unreadable { kind, key, reason }))
}

/// What was set aside since the store was made, as it is told of.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<(Kind, String), v1::SetAside>>);

impl Told {
    fn add(&self, kind: Kind, key: &str, reason: &str, at: Timestamp) -> bool {
        let mut told = lock(&self.0);
        if told.len() >= TOLD || told.contains_key(&(kind, key.to_owned())) {
            return false;
        }
        told.insert((kind, key.to_owned()), wire(kind.name(), key, reason, at));
        true
    }
}

fn wire(kind: &str, key: &str, reason: &str, at: Timestamp) -> v1::SetAside {
    v1::SetAside { kind: kind.to_owned(), key: key.to_owned(), reason: reason.to_owned(), at: Some(at) }
}

impl Store {
    /// Sets a record aside, and tells of it. What can not be moved, since the store can not be written, is left out
    /// all the same by whoever found it.
    pub fn set_aside(&self, kind: Kind, key: &str, reason: &str) {
        let at = micros(SystemTime::now());
        if self.0.told.add(kind, key, reason, timestamp(at)) {
            let kind = kind.name();
            tracing::error!(kind, key, reason, "a record is set aside; see `kittyd check`");
        }
        if kind != Kind::Latch {
            self.queue(Write::SetAside { kind, key: key.to_owned(), reason: reason.to_owned(), at });
        }
    }

    /// What was set aside, also by earlier starts: the first hundred.
    pub fn all_set_aside(&self) -> Vec<v1::SetAside> {
        lock(&self.0.told.0).values().cloned().collect()
    }

    /// Takes in what earlier starts set aside, and gives the targets of actions among it that were not over, with the
    /// time since then.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn recall_set_aside(&self) -> Result<Vec<(String, Duration)>, Problem> {
        let rows = self.read(all).await?;
        let mut hurt = Vec::new();
        for (kind, row, subject) in rows {
            let at = row.at.unwrap_or_default();
            self.0.told.add(kind, &row.key, &row.reason, at);
            if !subject.is_empty() {
                let at = at.system_time().unwrap_or_else(SystemTime::now);
                hurt.push((subject, at.elapsed().unwrap_or_default()));
            }
        }
        Ok(hurt)
    }

    /// Those of a query's rows that can be read; the others are set aside.
    pub(super) fn readable<T>(&self, rows: impl IntoIterator<Item = Read<T>>) -> Vec<T> {
        rows.into_iter().filter_map(|row| self.readable_one(row).ok()).collect()
    }

    /// The page; what could not be read is set aside.
    pub(super) fn readable_page<T>(&self, (page, unreadable): PageRead<T>) -> Page<T> {
        for why in unreadable {
            let _set_aside = self.readable_one::<T>(Err(why));
        }
        page
    }

    /// The row, if it can be read; else it is set aside.
    ///
    /// # Errors
    /// [`Code::Unreadable`].
    pub(super) fn readable_one<T>(&self, row: Read<T>) -> Result<T, Problem> {
        row.map_err(|Unreadable { kind, key, reason }| {
            self.set_aside(kind, &key, &reason);
            let what = format!("the {} {key:?} can not be read, and is set aside: {reason}", kind.name());
            Problem::new(Code::Unreadable, what).hint("see `kittyd check`")
        })
    }
}

pub(super) fn set_aside(
    connection: &Connection,
    kind: Kind,
    key: &str,
    reason: &str,
    at: i64,
) -> rusqlite::Result<usize> {
    let (table, column, bytes, subject) = kind.columns();
    let values = named_params! {":kind": kind.name(), ":key": key, ":reason": reason, ":at": at};
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO quarantine (kind, key, subject, bytes, reason, at)
             SELECT :kind, :key, {subject}, {bytes}, :reason, :at FROM {table}
             WHERE CAST({column} AS TEXT) = :key"
        ))?
        .execute(values)?;
    // Experiments refer to their suite.
    let out_of_the_way = match kind {
        Kind::Suite => "UPDATE suite SET suite = x'', record = x''".to_owned(),
        _ => format!("DELETE FROM {table}"),
    };
    connection
        .prepare_cached(&format!("{out_of_the_way} WHERE CAST({column} AS TEXT) = :key"))?
        .execute(named_params! {":key": key})
}

/// Everything that was set aside, oldest first, with its subject.
fn all(connection: &Connection) -> rusqlite::Result<Vec<(Kind, v1::SetAside, String)>> {
    let mut statement =
        connection.prepare("SELECT kind, key, reason, at, subject FROM quarantine ORDER BY at")?;
    let row = |row: &Row<'_>| {
        let name: String = row.get(0)?;
        let kind = Kind::STORED.into_iter().find(|kind| kind.name() == name).unwrap_or(Kind::Value);
        let (key, reason): (String, String) = (row.get(1)?, row.get(2)?);
        Ok((kind, wire(&name, &key, &reason, timestamp(row.get(3)?)), row.get(4)?))
    };
    statement.query_map([], row)?.collect()
}

/// What was set aside, and what the next start would set aside: a line each.
pub(super) fn survey(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let aside = if exists(connection, "quarantine")? { all(connection)? } else { Vec::new() };
    let line = |kind: &str, key: &str, reason: &str, what: &str| format!("{kind} {key}: {reason} ({what})");
    let mut lines: Vec<_> =
        aside.iter().map(|(_, row, _)| line(&row.kind, &row.key, &row.reason, "set aside")).collect();
    let unreadable = [
        undecoded::<v1::ActionStatus>(connection, Kind::Action, "status")?,
        undecoded::<v1::Operation>(connection, Kind::Operation, "operation")?,
        undecoded::<v1::SuiteRecord>(connection, Kind::Suite, "record")?,
        undecoded::<v1::ExperimentSuite>(connection, Kind::Suite, "suite")?,
        undecoded::<v1::Experiment>(connection, Kind::Experiment, "experiment")?,
    ];
    lines.extend(unreadable.iter().flatten().map(|Unreadable { kind, key, reason }| {
        line(kind.name(), key, reason, "the server sets it aside when it comes to it")
    }));
    Ok(lines)
}

fn undecoded<T: Message + Default>(
    connection: &Connection,
    kind: Kind,
    column: &str,
) -> rusqlite::Result<Vec<Unreadable>> {
    let (table, key, ..) = kind.columns();
    if !exists(connection, table)? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(&format!("SELECT {column}, {key} FROM {table}"))?;
    let rows: Vec<Read<T>> = statement
        .query_map([], |row| decode(kind, row))?
        .filter(|row| !matches!(row, Ok(Ok(_))))
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows.into_iter().filter_map(Result::err).collect())
}

/// A store of an earlier version, or an empty one, has fewer tables.
fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE name = :table";
    let found = connection.query_row(sql, named_params! {":table": table}, |_| Ok(()));
    Ok(found.optional()?.is_some())
}

fn micros(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
