//! The statements of the store; those on suites are in `experiment`. Writes are values, so that a batch that failed can be tried again one by one.

use chaos_kitty::v1::{self, action_state};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, ToSql, named_params, types::FromSql};

use super::{
    experiment::{self, Line, SuiteLine},
    quarantine::{self, Kind, Read, decode},
};

/// Actions that are over are kept up to this many; the oldest go first.
pub(super) const ACTIONS_KEPT: u32 = 100_000;

/// One change.
#[derive(Debug)]
pub(super) enum Write {
    Action {
        id: String,
        target_id: String,
        over: bool,
        status: Vec<u8>,
    },
    Operation {
        name: String,
        operation: Vec<u8>,
    },
    DeleteOperation {
        name: String,
    },
    /// Raises a number to at least this.
    AtLeast {
        key: &'static str,
        value: i64,
    },
    Set {
        key: &'static str,
        value: i64,
    },
    /// A suite with its experiments.
    Suite {
        suite: SuiteLine,
        experiments: Vec<Line>,
    },
    /// Drops the oldest suites beyond this many that are over.
    PruneSuites {
        kept: u32,
    },
    SuiteRecord(SuiteLine),
    Experiment(Line),
    /// A message under a key of its own.
    Value {
        key: &'static str,
        value: Vec<u8>,
    },
    /// Moves a record out of the way.
    SetAside {
        kind: Kind,
        key: String,
        reason: String,
        at: i64,
    },
    /// One start more takes up the experiments that are not over.
    BeginAttempt,
    /// They are driven.
    EndAttempt,
    /// Drops what is beyond [`ACTIONS_KEPT`].
    Prune,
    /// Changes nothing, and needs room on the disk for it.
    Probe,
}

impl Write {
    pub(super) fn action(status: &v1::ActionStatus) -> Self {
        Self::Action {
            id: status.id.clone(),
            target_id: status.target_id.clone(),
            over: is_over(status.state()),
            status: status.encode_to_vec(),
        }
    }

    /// How much of it is messages, which may be long.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Action { status, .. } => status.len(),
            Self::Operation { operation, .. } => operation.len(),
            Self::Suite { suite, experiments } => {
                suite.bytes() + experiments.iter().map(Line::bytes).sum::<usize>()
            }
            Self::SuiteRecord(suite) => suite.bytes(),
            Self::Experiment(line) => line.bytes(),
            Self::Value { value, .. } => value.len(),
            _ => 0,
        }
    }
}

/// Nothing of it is in force, and nothing more will become of it. A stuck one still waits for a person.
fn is_over(state: action_state::Name) -> bool {
    use action_state::Name as State;
    matches!(state, State::Reverted | State::Done | State::Failed | State::Refused)
}

pub(super) fn apply(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    let run = |sql: &str, values: &[(&str, &dyn ToSql)]| connection.prepare_cached(sql)?.execute(values);
    match write {
        Write::Action { id, target_id, over, status } => run(
            "INSERT INTO action (id, target_id, over, status) VALUES (:id, :target_id, :over, :status)
             ON CONFLICT (id) DO UPDATE SET target_id = :target_id, over = :over, status = :status",
            named_params! {":id": id, ":target_id": target_id, ":over": over, ":status": status},
        ),
        Write::Operation { name, operation } => run(
            "INSERT INTO operation (name, operation) VALUES (:name, :operation)
             ON CONFLICT (name) DO UPDATE SET operation = :operation",
            named_params! {":name": name, ":operation": operation},
        ),
        Write::DeleteOperation { name } => {
            run("DELETE FROM operation WHERE name = :name", named_params! {":name": name})
        }
        Write::AtLeast { key, value } => run(
            "INSERT INTO meta (key, value) VALUES (:key, :value)
             ON CONFLICT (key) DO UPDATE SET value = max(value, :value)",
            named_params! {":key": key, ":value": value},
        ),
        Write::Set { key, value } => set(connection, key, value),
        Write::Suite { suite, experiments } => experiment::put_suite(connection, suite, experiments),
        Write::PruneSuites { kept } => experiment::prune(connection, *kept),
        Write::SuiteRecord(suite) => experiment::put_record(connection, suite),
        Write::Experiment(line) => experiment::put_experiment(connection, line),
        Write::Value { key, value } => set(connection, key, value),
        Write::SetAside { kind, key, reason, at } => {
            quarantine::set_aside(connection, *kind, key, reason, *at)
        }
        Write::BeginAttempt => run("UPDATE experiment SET attempts = attempts + 1 WHERE over = 0", &[]),
        Write::EndAttempt => run("UPDATE experiment SET attempts = 0 WHERE attempts > 0", &[]),
        Write::Prune => run(
            "DELETE FROM action WHERE over = 1
             AND id <= (SELECT id FROM action ORDER BY id DESC LIMIT 1 OFFSET :kept)",
            named_params! {":kept": ACTIONS_KEPT},
        ),
        Write::Probe => set(connection, "probe", &rand::random::<i64>()),
    }
    .map(drop)
}

pub(super) fn set(connection: &Connection, key: &str, value: &dyn ToSql) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = :value")?
        .execute(named_params! {":key": key, ":value": value})
}

pub(super) fn get<T: FromSql>(connection: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = :key")?
        .query_row(named_params! {":key": key}, |row| row.get(0))
        .optional()
}

/// A value of its own; one that is of another type than it should be counts as none, and is set aside.
pub(super) fn get_or_aside<T: FromSql>(
    connection: &Connection,
    key: &str,
    aside: impl FnOnce(&str),
) -> rusqlite::Result<Option<T>> {
    match get(connection, key) {
        Err(
            error @ (rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::FromSqlConversionFailure(..)),
        ) => {
            aside(&error.to_string());
            Ok(None)
        }
        read => read,
    }
}

pub(super) fn value<T: Message + Default>(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<Read<T>>> {
    connection
        .prepare_cached("SELECT value, key FROM meta WHERE key = :key")?
        .query_row(named_params! {":key": key}, |row| decode(Kind::Value, row))
        .optional()
}

/// Each with its target.
pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<(Read<v1::ActionStatus>, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT status, id, target_id FROM action WHERE over = 0 ORDER BY id")?;
    statement.query_map([], |row| Ok((decode(Kind::Action, row)?, row.get(2)?)))?.collect()
}

pub(super) fn operations(connection: &Connection) -> rusqlite::Result<Vec<Read<v1::Operation>>> {
    let mut statement = connection.prepare_cached("SELECT operation, name FROM operation ORDER BY name")?;
    statement.query_map([], |row| decode(Kind::Operation, row))?.collect()
}

/// What `take` makes of the actions, newest first, from the request's token on; it reads no more of them than it wants.
pub(super) fn actions<T>(
    connection: &Connection,
    request: &v1::ListActionsRequest,
    take: impl FnOnce(&mut dyn Iterator<Item = rusqlite::Result<Read<v1::ActionStatus>>>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut conditions = vec!["1"];
    conditions.extend((!request.page_token.is_empty()).then_some("id < :before"));
    conditions.extend((!request.target_id.is_empty()).then_some("target_id = :target_id"));
    conditions.extend(request.active_only.then_some("over = 0"));
    let sql = format!("SELECT status, id FROM action WHERE {} ORDER BY id DESC", conditions.join(" AND "));
    let mut statement = connection.prepare_cached(&sql)?;
    for (name, value) in [(":before", &request.page_token), (":target_id", &request.target_id)] {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    take(&mut statement.raw_query().mapped(|row| decode(Kind::Action, row)))
}

pub(super) fn action(connection: &Connection, id: &str) -> rusqlite::Result<Option<Read<v1::ActionStatus>>> {
    connection
        .prepare_cached("SELECT status, id FROM action WHERE id = :id")?
        .query_row(named_params! {":id": id}, |row| decode(Kind::Action, row))
        .optional()
}
