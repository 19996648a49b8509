//! The halt's latch: a file beside the store, fsynced, so that a halt works with the store broken and
//! survives a restart.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use chaos_kitty::{
    Code, Problem,
    trust::{self, Trust},
};

/// See the module. Without a path (tests, stores in memory) it is kept in memory only.
#[derive(Debug)]
pub(super) struct Latch {
    path: Option<PathBuf>,
    since: Option<SystemTime>,
    /// Why it could not be told whether it is set.
    unreadable: Option<String>,
}

impl Latch {
    /// Set if the file is there, since it was last written; and where it can not be told whether it is there.
    ///
    /// # Errors
    /// [`Code::Untrusted`]: it is there, by somebody else.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, Problem> {
        let found = path.as_deref().map(fs::symlink_metadata);
        let (since, unreadable) = match found {
            Some(Ok(file)) => {
                path.as_deref().map_or(Ok(()), |path| Trust::own().check(path))?;
                (Some(file.modified().unwrap_or_else(|_| SystemTime::now())), None)
            }
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                (Some(SystemTime::now()), Some(error.to_string()))
            }
            Some(Err(_)) | None => (None, None),
        };
        Ok(Self { path, since, unreadable })
    }

    /// Its path, and why it could not be told whether it is set.
    pub(super) fn unreadable(&self) -> Option<(String, String)> {
        let path = self.path.as_ref()?.display().to_string();
        Some((path, self.unreadable.clone()?))
    }

    /// Since when it is set.
    pub(super) const fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Sets it. It is set in memory even when the file could not be written.
    pub(super) fn set(&mut self, reason: &str) -> Result<(), Problem> {
        self.since.get_or_insert_with(SystemTime::now);
        let Some(path) = &self.path else { return Ok(()) };
        trust::replace(path, reason.as_bytes()).map_err(|error| failed(path, "writing", &error))
    }

    /// Clears it. False if it was not set. It stays set when the file could not be removed.
    pub(super) fn clear(&mut self) -> Result<bool, Problem> {
        if self.since.is_none() {
            return Ok(false);
        }
        if let Some(path) = &self.path {
            match fs::remove_file(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(path, "removing", &error)),
            }
            trust::sync_folder(path).map_err(|error| failed(path, "removing", &error))?;
        }
        self.since = None;
        Ok(true)
    }
}

fn failed(path: &Path, doing: &str, error: &io::Error) -> Problem {
    Problem::new(Code::StoreUnavailable, format!("{doing} the halt's latch {}: {error}", path.display()))
        .hint("make its folder writable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latch_that_is_set_is_found_set_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("halted"));
        let mut latch = Latch::open(path.clone()).unwrap();
        assert!(latch.since().is_none());
        assert_eq!(latch.clear(), Ok(false));
        latch.set("fire").unwrap();
        let mut again = Latch::open(path.clone()).unwrap();
        assert!(again.since().is_some());
        assert_eq!(again.clear(), Ok(true));
        assert!(Latch::open(path).unwrap().since().is_none());
    }

    #[test]
    fn a_latch_follows_no_link_and_is_its_owners_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (victim, path) = (folder.path().join("victim"), folder.path().join("halted"));
        let mut latch = Latch::open(Some(path.clone())).unwrap();
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        latch.set("fire").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "fire");
        assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(Latch::open(Some(path)).unwrap_err().code, Code::Untrusted);
    }

    #[test]
    fn a_latch_whose_file_can_not_be_written_holds_in_memory_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut latch = Latch::open(Some(folder.path().join("gone/halted"))).unwrap();
        let problem = latch.set("fire").unwrap_err();
        assert!(problem.message.contains("gone/halted"), "{problem}");
        assert!(latch.since().is_some());
    }

    #[test]
    fn a_latch_of_which_nothing_can_be_told_counts_as_set() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let latch = Latch::open(Some(folder.path().join("file/halted"))).unwrap();
        assert!(latch.since().is_some());
        assert!(latch.unreadable().unwrap().0.ends_with("file/halted"));
    }
}
