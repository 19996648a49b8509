//! Opening a file as a store: whose it is, whether it is whole, which schema it has.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
    time::Duration,
};

use chaos_kitty::trust::{self, Trust};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};

use super::{error::StoreError, quarantine};

/// "Kity": marks a file as ours (`PRAGMA application_id`).
const APPLICATION_ID: u32 = 0x4b69_7479;
const HEADER: &[u8; 16] = b"SQLite format 3\0";
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
];
/// Two connections of one process wait for each other this long at the most.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store's file, open: to write, to read, and the lock that keeps other servers away.
pub(super) struct Opened {
    pub(super) writer: Connection,
    /// `None`: the writer reads, too.
    pub(super) reader: Option<Connection>,
    /// Dropped last: closing any descriptor of the file drops SQLite's own locks on it.
    pub(super) lock: File,
}

/// Opens or creates the store at `path`. A file that is not a whole store of a known schema is left as it is.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    check_owners(path)?;
    let lock = lock(path)?;
    check_header(path, &lock)?;
    match writer(path, false) {
        // What two connections share needs room beside the file; one alone needs none of it.
        Err(full @ StoreError::NoRoom { .. }) => {
            let writer = writer(path, true)?;
            tracing::error!(error = %full, "the store is opened on a full disk, and is slow until the next start");
            Ok(Opened { writer, reader: None, lock })
        }
        writer => {
            let (writer, reader) = (writer?, connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?);
            let sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
            reader.pragma_update(None, "query_only", true).map_err(sqlite)?;
            Ok(Opened { writer, reader: Some(reader), lock })
        }
    }
}

/// A connection that writes, to a store of this version; `alone`: no other connection may be made beside it.
fn writer(path: &Path, alone: bool) -> Result<Connection, StoreError> {
    let sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if alone {
        writer.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(sqlite)?;
    }
    let present = version(path, &writer)?;
    writer.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
    // In WAL mode, FULL is what makes a commit outlive a power failure.
    writer.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
    migrate(&writer, present).map_err(sqlite)?;
    Ok(writer)
}

/// An empty store in memory.
pub(super) fn in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    migrate(&connection, 0)?;
    Ok(connection)
}

/// Reads the whole file and says what is wrong with it; changes nothing, and a server may run meanwhile. Gives a line
/// for each record that can not be read, or was set aside.
///
/// # Errors
/// It is not there, not a store, or damaged.
pub fn check(path: &Path) -> Result<Vec<String>, StoreError> {
    let file = File::open(path).map_err(|error| StoreError::io(path, error))?;
    check_header(path, &file)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    version(path, &connection)?;
    let verdict: String = connection
        .query_row("PRAGMA integrity_check(1)", params![], |row| row.get(0))
        .map_err(|error| StoreError::sqlite(path, &error))?;
    if verdict != "ok" {
        return Err(StoreError::Corrupt { path: path.to_owned(), reason: verdict });
    }
    quarantine::survey(&connection).map_err(|error| StoreError::sqlite(path, &error))
}

/// What is opened by name: the store, what SQLite keeps beside it, and what the folders on the way let others put there.
fn check_owners(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let checked = Trust::own().check_if_there(Path::new(&name));
        checked.map_err(|problem| StoreError::Untrusted { path: path.to_owned(), problem })?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = trust::private()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| StoreError::io(path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(path.to_owned())),
        Err(error) => Err(StoreError::io(path, error)),
    }
}

/// An empty file is a store to be made; anything else must begin as SQLite's files do.
fn check_header(path: &Path, mut file: &File) -> Result<(), StoreError> {
    let mut header = [0; HEADER.len()];
    match file.read_exact(&mut header) {
        Ok(()) if header == *HEADER => Ok(()),
        Ok(()) => Err(StoreError::Foreign(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => match file.metadata() {
            Ok(metadata) if metadata.len() == 0 => Ok(()),
            _ => Err(StoreError::Foreign(path.to_owned())),
        },
        Err(error) => Err(StoreError::io(path, error)),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| StoreError::sqlite(path, &error))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(|error| StoreError::sqlite(path, &error))?;
    Ok(connection)
}

/// The schema that the file has; 0: it is empty.
fn version(path: &Path, connection: &Connection) -> Result<u32, StoreError> {
    let sqlite = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let (owner, version) =
        (pragma("application_id").map_err(sqlite)?, pragma("user_version").map_err(sqlite)?);
    let table = connection
        .query_row("SELECT name FROM sqlite_schema LIMIT 1", params![], |row| row.get::<_, String>(0))
        .optional()
        .map_err(sqlite)?;
    if owner != APPLICATION_ID && (version != 0 || table.is_some()) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(version)
}

/// Applies the migrations that come after `present`, each in a transaction of its own.
fn migrate(connection: &Connection, present: u32) -> rusqlite::Result<()> {
    for (number, sql) in (1u32..).zip(MIGRATIONS).filter(|(number, _)| *number > present) {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
