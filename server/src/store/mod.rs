//! What outlives the process: one SQLite file, and the only code that knows SQL.
//!
//! Writes go through one thread, which commits whatever waits in one transaction (WAL, synchronous FULL:
//! what was acknowledged outlives a power failure). Reads have a connection of their own. A disk that is
//! full fails the write and nothing else; the next one may work.

mod error;
mod experiment;
mod ids;
mod open;
mod quarantine;
mod sql;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use chaos_kitty::{Code, Problem, limits, page::Page, v1};
use prost::Message;
use rusqlite::Connection;

use self::{
    error::problem,
    ids::Ids,
    sql::Write,
    writer::{Health, Writer},
};
use crate::task::{self, lock};

pub use self::{error::StoreError, open::check, quarantine::Kind};

const SERVER_ID: &str = "server_id";
const EPOCH: &str = "epoch";
const NEXT_CONNECTION_ID: &str = "next_connection_id";

/// An open store. Clones are the same store; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

/// What an earlier start left unfinished.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// The actions, oldest first.
    pub actions: Vec<v1::ActionStatus>,
    /// The targets of those that can not be read.
    pub unreadable: Vec<String>,
}

/// The order of the fields is the order in which they are closed.
struct Inner {
    server_id: String,
    ids: Ids,
    health: Arc<Health>,
    told: quarantine::Told,
    writer: Option<Writer>,
    /// Of a store in memory, or of one that was opened on a full disk, this connection writes as well.
    reader: Arc<Mutex<Connection>>,
    _lock: Option<File>,
}

impl Store {
    /// Opens the store at `path`, made and migrated where needed. Blocks; for the start of a program.
    ///
    /// # Errors
    /// See [`StoreError`]. A file that can not be used is left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let open::Opened { writer, reader, lock } = open::open(path)?;
        let health = Arc::<Health>::default();
        let (server_id, ids) = prepare(&writer, &health).map_err(|error| StoreError::sqlite(path, &error))?;
        let (writer, reader) = match reader {
            Some(reader) => {
                let writer = Writer::start(writer, Arc::clone(&health));
                (Some(writer.map_err(|error| StoreError::io(path, error))?), reader)
            }
            None => (None, writer),
        };
        let (reader, told) = (Arc::new(Mutex::new(reader)), quarantine::Told::default());
        Ok(Self(Arc::new(Inner { server_id, ids, health, told, writer, reader, _lock: Some(lock) })))
    }

    /// An empty store in memory, for tests and trials. It works in the caller's thread, so that a virtual
    /// clock does not run on while one waits for it.
    ///
    /// # Errors
    /// SQLite has no memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let sqlite = |error| StoreError::sqlite(path, &error);
        let connection = open::in_memory().map_err(sqlite)?;
        let health = Arc::<Health>::default();
        let (server_id, ids) = prepare(&connection, &health).map_err(sqlite)?;
        let reader = Arc::new(Mutex::new(connection));
        Ok(Self(Arc::new(Inner {
            server_id,
            ids,
            health,
            told: quarantine::Told::default(),
            writer: None,
            reader,
            _lock: None,
        })))
    }

    /// The server's id: a UUID, made once for each store.
    pub fn server_id(&self) -> &str {
        &self.0.server_id
    }

    /// Begins this start's epoch: greater than any before, and not below the wall clock's milliseconds. Where it can not
    /// be written, it is as soon as anything can.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: it can not be read.
    pub async fn begin_epoch(&self) -> Result<u64, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let stored = self.epoch().await?;
        let epoch = now.max(stored.saturating_add(1));
        match self.raise_epoch(epoch).await {
            // For halt and stop the server starts all the same; the next start is no earlier by the clock either.
            Err(problem) if problem.code == Code::StoreUnavailable => {
                tracing::error!(epoch, %problem, "the epoch is not stored yet");
                let value = i64::try_from(epoch).unwrap_or(i64::MAX);
                self.0.health.owe(Write::AtLeast { key: EPOCH, value });
                Ok(epoch)
            }
            raised => raised,
        }
    }

    /// Raises the stored epoch to at least this, and answers with what it is now.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn raise_epoch(&self, epoch: u64) -> Result<u64, Problem> {
        let value = i64::try_from(epoch).map_err(|_| Problem::invalid("epoch", "over 2^63"))?;
        self.write(Write::AtLeast { key: EPOCH, value }).await?;
        self.epoch().await
    }

    async fn epoch(&self) -> Result<u64, Problem> {
        let (stored, unreadable) = self
            .read(|connection| {
                let mut unreadable = None;
                let aside = |reason: &str| unreadable = Some(reason.to_owned());
                let stored: Option<i64> = sql::get_or_aside(connection, EPOCH, aside)?;
                Ok((stored, unreadable))
            })
            .await?;
        let is_sane = |epoch: &i64| u64::try_from(*epoch).is_ok_and(|epoch| epoch < limits::SANE_EPOCH);
        let insane = stored.filter(|epoch| !is_sane(epoch)).map(|epoch| format!("{epoch} is none"));
        let (stored, unreadable) = (stored.filter(is_sane), unreadable.or(insane));
        if let Some(reason) = unreadable {
            self.set_aside(Kind::Value, EPOCH, &reason);
        }
        Ok(stored.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0))
    }

    /// The next connection id, from 1, unique for the life of the store. Never waits: ids are reserved in
    /// blocks ahead of their use, and what is left of a block is given back when the store is closed.
    pub fn next_connection_id(&self) -> u32 {
        let (id, reserve) = self.0.ids.next();
        if let Some(next) = reserve {
            let write = Write::AtLeast { key: NEXT_CONNECTION_ID, value: next.into() };
            self.queue(write);
        }
        id
    }

    /// Writes an action's status, new or changed; answers once it is on the disk.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: whether it was written is not known.
    pub async fn put_action(&self, status: &v1::ActionStatus) -> Result<(), Problem> {
        self.write(Write::action(status)).await
    }

    /// Writes an action's status some time soon. What can not be written is counted, see [`Self::lost`].
    pub fn record_action(&self, status: &v1::ActionStatus) {
        self.queue(Write::action(status));
    }

    /// A page of actions, newest first.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn actions(&self, request: &v1::ListActionsRequest) -> Result<Page<v1::ActionStatus>, Problem> {
        let request = request.clone();
        let size = request.page_size;
        let page = move |rows: &mut dyn Iterator<Item = _>| quarantine::page(rows, size);
        Ok(self.readable_page(self.read(move |connection| sql::actions(connection, &request, page)).await?))
    }

    /// The newest actions, newest first: what a server that starts has to know of those before it.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn newest_actions(&self, count: u32) -> Result<Vec<v1::ActionStatus>, Problem> {
        let all = v1::ListActionsRequest::default();
        let newest =
            move |rows: &mut dyn Iterator<Item = _>| rows.take(count as usize).collect::<Result<Vec<_>, _>>();
        Ok(self.readable(self.read(move |connection| sql::actions(connection, &all, newest)).await?))
    }

    /// One action.
    ///
    /// # Errors
    /// [`Code::NoSuchAction`], [`Code::StoreUnavailable`].
    pub async fn action(&self, id: &str) -> Result<v1::ActionStatus, Problem> {
        let key = id.to_owned();
        let found = self.read(move |connection| sql::action(connection, &key)).await?;
        found.map(|found| self.readable_one(found)).transpose()?.ok_or_else(|| {
            Problem::new(Code::NoSuchAction, format!("no action {id:?}")).hint("see `kittyctl action list`")
        })
    }

    /// Actions that are not over, oldest first: what a server that starts has to settle.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn unfinished_actions(&self) -> Result<Unfinished, Problem> {
        let mut unfinished = Unfinished::default();
        for (read, target_id) in self.read(sql::unfinished).await? {
            match self.readable_one(read) {
                Ok(status) => unfinished.actions.push(status),
                Err(_) => unfinished.unreadable.push(target_id),
            }
        }
        Ok(unfinished)
    }

    /// Writes an operation, new or changed, under its name.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn put_operation(&self, operation: &v1::Operation) -> Result<(), Problem> {
        let write = Write::Operation { name: operation.name.clone(), operation: operation.encode_to_vec() };
        self.write(write).await
    }

    /// Forgets an operation; one that is not there is none the less gone.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn delete_operation(&self, name: &str) -> Result<(), Problem> {
        self.write(Write::DeleteOperation { name: name.to_owned() }).await
    }

    /// The operations, by name.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn operations(&self) -> Result<Vec<v1::Operation>, Problem> {
        Ok(self.readable(self.read(sql::operations).await?))
    }

    /// Writes a single value, new or changed.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`].
    pub async fn put_value(&self, key: &'static str, value: &impl Message) -> Result<(), Problem> {
        self.write(Write::Value { key, value: value.encode_to_vec() }).await
    }

    /// A single value; `None`: it was never written.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]; [`Code::Unreadable`]: it is set aside.
    pub async fn value<T: Message + Default + 'static>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, Problem> {
        let found = self.read(move |connection| sql::value(connection, key)).await?;
        found.map(|found| self.readable_one(found)).transpose()
    }

    /// Waits until everything that was recorded is written, and gives back the connection ids that were not
    /// used. For the end of the program, when nobody attaches any more.
    ///
    /// # Errors
    /// [`Code::StoreUnavailable`]: ids are skipped, nothing else.
    pub async fn settle(&self) -> Result<(), Problem> {
        self.write(Write::Set { key: NEXT_CONNECTION_ID, value: self.0.ids.unused().into() }).await
    }

    /// What is wrong with writing, e.g. a full disk, until a write works again.
    pub fn problem(&self) -> Option<String> {
        self.0.health.problem()
    }

    /// Recorded statuses that were never written, since the store was opened.
    pub fn lost(&self) -> u64 {
        self.0.health.lost()
    }

    async fn write(&self, write: Write) -> Result<(), Problem> {
        match &self.0.writer {
            Some(writer) => writer.write(write).await,
            None => self.0.health.commit(&lock(&self.0.reader), &[&write]),
        }
    }

    fn queue(&self, write: Write) {
        let taken = match &self.0.writer {
            Some(writer) => writer.queue(write),
            None => self.0.health.commit(&lock(&self.0.reader), &[&write]).is_ok(),
        };
        if !taken {
            self.0.health.lose(1);
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        if self.0.writer.is_none() {
            return self.with_reader(query);
        }
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.with_reader(query)).await.map_err(Problem::internal)?
    }

    fn with_reader<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Problem> {
        let connection = lock(&self.0.reader);
        let answer = task::guarded(|| query(&connection)).map_err(Problem::internal)?;
        answer.map_err(|error| problem(&error))
    }
}

impl Drop for Inner {
    /// Gives back the connection ids that were not used, and waits for what is still to be written.
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.queue(Write::Set { key: NEXT_CONNECTION_ID, value: self.ids.unused().into() });
        }
    }
}

/// The server's id and the first block of connection ids, durable before anything else happens. On a full disk they
/// are owed: no target is hurt before they are written.
fn prepare(connection: &Connection, health: &Health) -> rusqlite::Result<(String, Ids)> {
    let unread = |key: &'static str| {
        move |reason: &str| {
            tracing::error!(key, reason, "a value of the store can not be read, and is made anew")
        }
    };
    let stored: Option<String> = sql::get_or_aside(connection, SERVER_ID, unread(SERVER_ID))?;
    let server_id = stored.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let mut lost = false;
    let next: Option<u32> = sql::get_or_aside(connection, NEXT_CONNECTION_ID, |reason| {
        unread(NEXT_CONNECTION_ID)(reason);
        lost = true;
    })?;
    let (ids, reserved) = Ids::from(next.unwrap_or_else(|| if lost { beyond_any() } else { 1 }));
    let reserve = || Write::Set { key: NEXT_CONNECTION_ID, value: reserved.into() };
    let written = connection.unchecked_transaction().and_then(|transaction| {
        if stored.is_none() {
            sql::set(&transaction, SERVER_ID, &server_id)?;
        }
        sql::apply(&transaction, &reserve())?;
        transaction.commit()
    });
    match written {
        Err(error) if stored.is_some() && error::is_no_room(&error) => {
            health.owe(reserve());
            health.set(Some(&problem(&error)));
        }
        written => written?,
    }
    Ok((server_id, ids))
}

/// A connection id that was never handed out: there were fewer connections than seconds since 1970.
fn beyond_any() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX / 2)
}
