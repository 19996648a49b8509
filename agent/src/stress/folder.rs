//! A script's own folder, in the target's file system: with a name that nobody can guess and made where it was not
//! before, so that no link of others lies in wait for what the script writes.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Where one is made, in this order. An image made from scratch may have neither of the first two.
const ABOVE: [&str; 3] = ["/var/tmp", "/tmp", "/"];

/// In place of a program: only the folder is removed.
pub(crate) const REMOVE: &str = "-";

/// A name for one.
pub(crate) fn name() -> String {
    format!("kitty-{}", uuid::Uuid::new_v4().simple())
}

/// Makes it, for its owner alone. `None`: nowhere can one be made that others cannot replace.
pub(super) fn make(name: &str) -> Option<PathBuf> {
    let above = ABOVE.map(Path::new).into_iter().filter(|above| keeps_what_is_anothers(above));
    above.map(|above| above.join(name)).find(|path| DirBuilder::new().mode(0o700).create(path).is_ok())
}

/// Where it was made.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let is_own =
        |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == own);
    ABOVE.into_iter().map(|above| Path::new(above).join(name)).find(is_own)
}

/// Removes it with all that is in it. Done before is done.
pub(super) fn remove(name: &str) -> io::Result<()> {
    match find(name).map(fs::remove_dir_all) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn keeps_what_is_anothers(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| found.mode() & 0o1000 != 0 || found.mode() & 0o022 == 0)
}
