//! Suites, their experiments and the history, with their statements.

use chaos_kitty::{
    Code, Problem, Timestamp,
    page::Page,
    v1::{Experiment, HistoryEntry, SuiteRecord, experiment_state::Name as State, verdict::Name as Verdict},
};
use prost::Message;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::{
    Store,
    quarantine::{Kind, PageRead, Read, decode, decode_at, page},
    sql::Write,
};

const MICROSECOND: i64 = 1_000_000;

impl Store {
    /// Writes a suite with its experiments, all of it or nothing.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: whether it was written is not known.
    pub async fn put_suite(&self, record: &SuiteRecord, experiments: &[Experiment]) -> Result<(), Problem> {
        let experiments = experiments.iter().map(Line::of).collect();
        self.write(Write::Suite { suite: SuiteLine::of(record), experiments }).await
    }

    /// Forgets, some time soon, the oldest suites beyond this many, unless experiments of theirs are not over.
    pub fn keep_suites(&self, kept: u32) {
        self.queue(Write::PruneSuites { kept });
    }

    /// Writes what was added to a suite's record.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn put_suite_record(&self, record: &SuiteRecord) -> Result<(), Problem> {
        self.write(Write::SuiteRecord(SuiteLine::of(record))).await
    }

    /// Writes an experiment as it is now; answers once it is on the disk.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: whether it was written is not known.
    pub async fn put_experiment(&self, experiment: &Experiment) -> Result<(), Problem> {
        self.write(Write::Experiment(Line::of(experiment))).await
    }

    /// Counts that a start of the server takes up the experiments that are not over.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: it is not counted.
    pub async fn begin_attempt(&self) -> Result<(), Problem> {
        self.write(Write::BeginAttempt).await
    }

    /// This start drives what it took up.
    pub fn end_attempt(&self) {
        self.queue(Write::EndAttempt);
    }

    /// Experiments that are not over, oldest first: what a server that starts has to go on with; each with how many
    /// starts have taken it up and not driven it for long, this one included.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn unfinished_experiments(&self) -> Result<Vec<(Experiment, u32)>, Problem> {
        let rows = self.read(unfinished).await?;
        let counted = |(read, attempts): (Read<Experiment>, u32)| read.map(|read| (read, attempts));
        Ok(self.readable(rows.into_iter().map(counted)))
    }

    /// One experiment.
    ///
    /// # Errors
    /// [`Code::NoSuchExperiment`], [`Code::StoreUnavailable`].
    pub async fn experiment(&self, id: &str) -> Result<Experiment, Problem> {
        let key = id.to_owned();
        let found = self.read(move |connection| experiment(connection, &key)).await?;
        found.map(|found| self.readable_one(found)).transpose()?.ok_or_else(|| {
            Problem::new(Code::NoSuchExperiment, format!("no experiment {id:?}"))
                .hint("see `kittyctl experiment list --all`")
        })
    }

    /// A page of the experiments older than the one of the id `before` (empty: all), newest first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn experiments(&self, before: &str, size: u32) -> Result<Page<Experiment>, Problem> {
        // No id begins with a tilde.
        let before = if before.is_empty() { "~" } else { before }.to_owned();
        Ok(self.readable_page(self.read(move |connection| experiments(connection, &before, size)).await?))
    }

    /// The experiments of a suite, in the order in which they were asked for.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn experiments_of(&self, suite: Timestamp) -> Result<Vec<Experiment>, Problem> {
        Ok(self.readable(self.read(move |connection| of_suite(connection, micros(suite))).await?))
    }

    /// A page of the suites before a time (`None`: all), newest first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn suites(&self, before: Option<Timestamp>, size: u32) -> Result<Page<HistoryEntry>, Problem> {
        let before = before.map_or(i64::MAX, micros);
        Ok(self.readable_page(self.read(move |connection| suites(connection, before, size)).await?))
    }

    /// What was recorded of a suite; its experiments apart.
    ///
    /// # Errors
    /// [`Code::NoSuchSuite`], [`Code::StoreUnavailable`].
    pub async fn suite_record(&self, at: Timestamp) -> Result<SuiteRecord, Problem> {
        let found = self.read(move |connection| record(connection, micros(at))).await?;
        found.map(|found| self.readable_one(found)).transpose()?.ok_or_else(|| {
            Problem::new(Code::NoSuchSuite, format!("no suite was built at {at}"))
                .hint("see `kittyctl experiment history`")
        })
    }
}

/// A suite's line.
#[derive(Debug)]
pub(super) struct SuiteLine {
    at: i64,
    suite: Vec<u8>,
    record: Vec<u8>,
}

impl SuiteLine {
    fn of(record: &SuiteRecord) -> Self {
        let suite = record.suite.as_ref().map(Message::encode_to_vec).unwrap_or_default();
        let at = record.at.map_or(0, micros);
        Self { at, suite, record: SuiteRecord { suite: None, ..record.clone() }.encode_to_vec() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.suite.len() + self.record.len()
    }
}

/// Of a [`SuiteRecord`], what the history tells: the rest, which may be long, is skipped.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(enumeration = "Verdict", tag = "9")]
    verdict: i32,
    #[prost(string, tag = "10")]
    verdict_reason: String,
}

/// An experiment's line.
#[derive(Debug)]
pub(super) struct Line {
    id: String,
    suite: i64,
    over: bool,
    experiment: Vec<u8>,
}

impl Line {
    fn of(experiment: &Experiment) -> Self {
        Self {
            id: experiment.id.clone(),
            suite: experiment.suite.map_or(0, micros),
            over: matches!(experiment.experiment_state(), State::Finished | State::Failed),
            experiment: experiment.encode_to_vec(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.experiment.len()
    }
}

pub(super) fn put_suite(
    connection: &Connection,
    suite: &SuiteLine,
    experiments: &[Line],
) -> rusqlite::Result<usize> {
    put_record(connection, suite)?;
    for experiment in experiments {
        put_experiment(connection, experiment)?;
    }
    Ok(experiments.len())
}

pub(super) fn prune(connection: &Connection, kept: u32) -> rusqlite::Result<usize> {
    let oldest = "SELECT at FROM suite ORDER BY at DESC LIMIT -1 OFFSET :kept";
    let gone = format!(
        "SELECT at FROM ({oldest}) WHERE NOT EXISTS (SELECT 1 FROM experiment WHERE suite = at AND over = 0)"
    );
    let gone: Vec<i64> = connection
        .prepare_cached(&gone)?
        .query_map(named_params! {":kept": kept}, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for at in &gone {
        for sql in ["DELETE FROM experiment WHERE suite = :at", "DELETE FROM suite WHERE at = :at"] {
            connection.prepare_cached(sql)?.execute(named_params! {":at": at})?;
        }
    }
    Ok(gone.len())
}

pub(super) fn put_record(connection: &Connection, line: &SuiteLine) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO suite (at, suite, record) VALUES (:at, :suite, :record)
             ON CONFLICT (at) DO UPDATE SET suite = :suite, record = :record",
        )?
        .execute(named_params! {":at": line.at, ":suite": line.suite, ":record": line.record})
}

pub(super) fn put_experiment(connection: &Connection, line: &Line) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO experiment (id, suite, over, experiment) VALUES (:id, :suite, :over, :experiment)
             ON CONFLICT (id) DO UPDATE SET over = :over, experiment = :experiment",
        )?
        .execute(named_params! {
            ":id": line.id, ":suite": line.suite, ":over": line.over, ":experiment": line.experiment
        })
}

fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<(Read<Experiment>, u32)>> {
    let mut statement = connection
        .prepare_cached("SELECT experiment, id, attempts FROM experiment WHERE over = 0 ORDER BY id")?;
    let counted = |row: &Row<'_>| Ok((decode(Kind::Experiment, row)?, row.get(2)?));
    statement.query_map([], counted)?.collect()
}

fn one(row: &Row<'_>) -> rusqlite::Result<Read<Experiment>> {
    decode(Kind::Experiment, row)
}

fn experiment(connection: &Connection, id: &str) -> rusqlite::Result<Option<Read<Experiment>>> {
    connection
        .prepare_cached("SELECT experiment, id FROM experiment WHERE id = :id")?
        .query_row(named_params! {":id": id}, one)
        .optional()
}

fn experiments(connection: &Connection, before: &str, size: u32) -> rusqlite::Result<PageRead<Experiment>> {
    let mut statement = connection
        .prepare_cached("SELECT experiment, id FROM experiment WHERE id < :before ORDER BY id DESC")?;
    page(statement.query_map(named_params! {":before": before}, one)?, size)
}

fn of_suite(connection: &Connection, at: i64) -> rusqlite::Result<Vec<Read<Experiment>>> {
    let mut statement =
        connection.prepare_cached("SELECT experiment, id FROM experiment WHERE suite = :at ORDER BY id")?;
    statement.query_map(named_params! {":at": at}, one)?.collect()
}

fn suites(connection: &Connection, before: i64, size: u32) -> rusqlite::Result<PageRead<HistoryEntry>> {
    let mut statement = connection
        .prepare_cached("SELECT suite, at, record FROM suite WHERE at < :before ORDER BY at DESC")?;
    let entry = |row: &Row<'_>| {
        let at = Some(timestamp(row.get(1)?));
        let (suite, told) = (decode(Kind::Suite, row)?, decode_at::<Told>(Kind::Suite, row, 2)?);
        Ok(suite.and_then(|suite| {
            let Told { verdict, verdict_reason, .. } = told?;
            Ok(HistoryEntry { at, suite: Some(suite), verdict, verdict_reason, problem: None })
        }))
    };
    page(statement.query_map(named_params! {":before": before}, entry)?, size)
}

fn record(connection: &Connection, at: i64) -> rusqlite::Result<Option<Read<SuiteRecord>>> {
    let suite = connection
        .prepare_cached("SELECT suite, at FROM suite WHERE at = :at")?
        .query_row(named_params! {":at": at}, |row| decode(Kind::Suite, row))
        .optional()?;
    let record = connection
        .prepare_cached("SELECT record, at FROM suite WHERE at = :at")?
        .query_row(named_params! {":at": at}, |row| decode::<SuiteRecord>(Kind::Suite, row))
        .optional()?;
    Ok(record.map(|record| {
        let (record, suite) = (record?, suite.transpose()?);
        Ok(SuiteRecord { suite, ..record })
    }))
}

/// Microseconds since 1970.
fn micros(at: Timestamp) -> i64 {
    at.seconds.saturating_mul(MICROSECOND).saturating_add(i64::from(at.nanos) / 1000)
}

pub(super) fn timestamp(micros: i64) -> Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(MICROSECOND) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(MICROSECOND), nanos }
}
