//! The journal's folder: `records`, and what was set aside because it could not be read.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use chaos_kitty::trust;

use super::{
    count::{self, Count},
    record::{self, Contents, Entry, Held},
};

const RECORDS: &str = "records";
/// Set aside; what follows is the time.
const DAMAGED: &str = "damaged-";
/// Set aside, and a person has said that it may be left alone.
const CLEARED: &str = "cleared-";

/// A journal smaller than this is not worth being written anew.
const COMPACT_BYTES: u64 = 64 << 10;

/// Why a journal says nothing that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The folder or the file can not be used.
    #[error("the journal {path}: {error}")]
    Unavailable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What was acknowledged is destroyed.
    #[error("the journal was damaged ({what}) and is set aside as {path}")]
    Damaged {
        /// Where it is now.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What can still be read of it. It may be over, or lack an undo.
        known: Vec<Held>,
    },
}

/// What was in force when the last one that wrote here ended. Whatever can not be read is set aside.
///
/// # Errors
/// See [`Trouble`]; what is damaged stays so until [`clear`].
pub fn look(folder: &Path) -> Result<Vec<Held>, Trouble> {
    make(folder).map_err(unavailable(folder))?;
    if let Some(path) = set_aside(folder, DAMAGED).map_err(unavailable(folder))?.into_iter().next() {
        return Err(damaged(folder, path));
    }
    let path = folder.join(RECORDS);
    let contents = read(folder, &path).map_err(unavailable(&path))?;
    if contents.damage.is_none() {
        return Ok(contents.held);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = folder.join(format!("{DAMAGED}{}", since.as_nanos()));
    let renamed = match fs::rename(&path, &aside) {
        // All of it is gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            trust::private().write(true).create_new(true).open(&aside).map(drop)
        }
        other => other,
    };
    renamed.and_then(|()| sync(folder)).map_err(unavailable(&path))?;
    Err(damaged(folder, aside))
}

/// One that is not there is empty.
fn read(folder: &Path, path: &Path) -> io::Result<Contents> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    Ok(record::read(&bytes, count::read(folder)?))
}

/// Lets faults be injected again after a journal was set aside; the file stays, under another name. Gives what
/// can be read of it.
///
/// # Errors
/// The folder can not be read, or the file not renamed.
pub fn clear(folder: &Path) -> io::Result<Vec<Held>> {
    let mut known = Vec::new();
    for path in set_aside(folder, DAMAGED)? {
        known.extend(record::read(&fs::read(&path)?, 0).held);
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(DAMAGED, CLEARED);
        fs::rename(&path, folder.join(name))?;
    }
    count::forget(folder)?;
    sync(folder)?;
    Ok(known)
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn unavailable(path: &Path) -> impl FnOnce(io::Error) -> Trouble {
    let path = path.to_owned();
    move |error| Trouble::Unavailable { path, error }
}

fn damaged(folder: &Path, path: PathBuf) -> Trouble {
    let (what, known) = match read(folder, &path) {
        Ok(contents) => (contents.damage.map(|damage| damage.to_string()), contents.held),
        Err(error) => (Some(error.to_string()), Vec::new()),
    };
    // What was missed before the host was started again can not be told any more.
    Trouble::Damaged { path, what: what.unwrap_or_else(|| "lines of it are missing".to_owned()), known }
}

/// Files in the folder whose name begins so, oldest first.
fn set_aside(folder: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(prefix) {
            found.push(file.path());
        }
    }
    found.sort();
    Ok(found)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The file, open for appending. One at a time: whoever has it holds the lock on the state folder.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    file: File,
    count: Count,
    /// Up to here everything was acknowledged.
    bytes: u64,
    next: u64,
    held: BTreeMap<String, Held>,
    /// It says of something that it is held which is over.
    stale: bool,
}

impl Records {
    /// Begins a file that says that these are held.
    ///
    /// # Errors
    /// It can not be written.
    pub fn begin(folder: &Path, held: Vec<Held>) -> io::Result<Self> {
        make(folder)?;
        let held: BTreeMap<_, _> = held.into_iter().map(|one| (one.id.clone(), one)).collect();
        let file = trust::private().create(true).append(true).open(folder.join(RECORDS))?;
        let count = Count::open(folder)?;
        let mut begun =
            Self { folder: folder.to_owned(), file, count, bytes: 0, next: 1, held, stale: false };
        begun.rewrite()?;
        Ok(begun)
    }

    /// Appends entries, all or none of those that say that something is held; those that say that something is
    /// over are heeded in any case. On the disk when it returns, where the undo outlives a boot.
    ///
    /// # Errors
    /// It can not be written: none of them is held on account of this.
    pub fn append(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let written = self.write(&entries);
        for entry in entries {
            match entry {
                Entry::Held(one) if written.is_ok() => drop(self.held.insert(one.id.clone(), one)),
                Entry::Held(_) => {}
                Entry::Over { id } => {
                    self.stale |= self.held.remove(&id).is_some() && written.is_err();
                }
            }
        }
        if self.is_worth_rewriting()
            && let Err(error) = self.rewrite()
        {
            // Nothing is lost: the next one tries again.
            tracing::warn!(%error, "the journal can not be written anew");
        }
        written
    }

    fn write(&mut self, entries: &[Entry]) -> io::Result<()> {
        // Whatever an earlier failure left behind.
        self.file.set_len(self.bytes)?;
        let mut lines = Vec::new();
        for (number, entry) in (self.next..).zip(entries) {
            record::write(&mut lines, number, entry)?;
        }
        let durable = entries.iter().any(|entry| self.is_durable(entry));
        let next = self.next + entries.len() as u64;
        let written = self
            .file
            .write_all(&lines)
            .and_then(|()| if durable { self.file.sync_data() } else { Ok(()) })
            .and_then(|()| self.count.set(next - 1));
        match written {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                self.next = next;
                Ok(())
            }
            Err(error) => {
                // If that fails too, the next write begins with it.
                drop(self.file.set_len(self.bytes));
                Err(error)
            }
        }
    }

    fn is_durable(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Held(one) => one.outlives_a_boot(),
            Entry::Over { id } => self.held.get(id).is_some_and(Held::outlives_a_boot),
        }
    }

    /// Mostly of what is over.
    fn is_worth_rewriting(&self) -> bool {
        let lines = self.next - 1;
        self.stale || (self.bytes > COMPACT_BYTES && lines > 2 * self.held.len() as u64)
    }

    /// Writes it anew with what is held, so that a crash leaves the old one or the new one.
    fn rewrite(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            // Needs no room on the disk.
            self.count.set(0)?;
            self.file.set_len(0)?;
            (self.bytes, self.next, self.stale) = (0, 1, false);
            return Ok(());
        }
        let records = self.folder.join(RECORDS);
        let mut lines = Vec::new();
        for (number, held) in (1..).zip(self.held.values()) {
            record::write(&mut lines, number, &Entry::Held(held.clone()))?;
        }
        let (draft, mut file) = trust::draft(&records)?;
        file.write_all(&lines)?;
        file.sync_all()?;
        let file = trust::private().append(true).open(&draft)?;
        self.count.set(0)?;
        fs::rename(&draft, records)?;
        (self.file, self.bytes, self.stale) = (file, lines.len() as u64, false);
        self.next = self.held.len() as u64 + 1;
        self.count.set(self.next - 1)?;
        sync(&self.folder)
    }
}

#[cfg(test)]
mod tests;
