//! Why a store can not be opened, with the path and what to do.

use std::path::{Path, PathBuf};

use chaos_kitty::{Code, Problem};
use rusqlite::ErrorCode;

/// Why a store can not be opened. Nothing on the disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another server has it open.
    #[error("{}: another kittyd has this store open; stop it, or give this one its own file with --store", .0.display())]
    InUse(PathBuf),
    /// The file is something else.
    #[error("{}: not a store of kittyd, so it is left alone; give another path with --store", .0.display())]
    Foreign(PathBuf),
    /// The file was a store, and is damaged.
    #[error("{}: the store is damaged ({reason}); move it away and restore a copy, or start without it: kittyd then begins a new one", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// A newer kittyd made it.
    #[error("{}: the store has schema {found}, this kittyd knows up to {known}; run the newer kittyd, or give another path with --store", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema of this build.
        known: u32,
    },
    /// Somebody else has made it or its folder, or could replace it.
    #[error("{}: {}", .path.display(), .problem.message)]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Which place on the way is not trusted.
        problem: Problem,
    },
    /// The disk is full, or fails.
    #[error("{}: opening the store: {reason}; make room on its disk, and see whether it is sound", .path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The file system, or SQLite, refused.
    #[error("{}: opening the store: {reason}; check the path, its permissions and the free space", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was said.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn io(path: &Path, reason: impl ToString) -> Self {
        Self::Io { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What SQLite said about the file at `path`.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, reason },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse(path),
            _ if is_no_room(error) => Self::NoRoom { path, reason },
            _ => Self::Io { path, reason },
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Untrusted { problem, .. } => problem,
            error => Self::new(Code::StoreUnavailable, error.to_string()),
        }
    }
}

/// The disk is full, or refuses to write.
pub(super) fn is_no_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// What a caller is told when a read or write failed.
pub(super) fn problem(error: &rusqlite::Error) -> Problem {
    let hint = match error.sqlite_error_code() {
        _ if is_no_room(error) => "make room on the store's disk; kittyd goes on by itself",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "stop kittyd and look at the store with `kittyd check`"
        }
        _ => "look at the log of kittyd",
    };
    Problem::new(Code::StoreUnavailable, format!("the store can not be used: {error}")).hint(hint)
}
