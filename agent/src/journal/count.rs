//! How many lines of the journal were acknowledged: kept beside it, so that lines which are gone from its end are
//! missed too. It is never synced, so it is believed only in the boot of the host in which it was written; what
//! must outlive that boot is synced in the journal itself.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use chaos_kitty::trust;

use crate::host::boot_id;

const ACKNOWLEDGED: &str = "acknowledged";

/// The file, open for writing. Its content always has the same length, so that it needs room on the disk only once.
#[derive(Debug)]
pub(super) struct Count {
    file: File,
    boot: String,
}

impl Count {
    /// Opens the file in the journal's folder; what it says stays.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file =
            trust::private().create(true).truncate(false).write(true).open(folder.join(ACKNOWLEDGED))?;
        Ok(Self { file, boot: boot_id() })
    }

    /// To be raised after the journal has grown, and lowered before it gets shorter: it is never too high.
    pub(super) fn set(&self, lines: u64) -> io::Result<()> {
        self.file.write_all_at(format!("{} {lines:020}\n", self.boot).as_bytes(), 0)
    }
}

/// The lines that the journal has at least. 0: nobody knows.
///
/// # Errors
/// The count is there and cannot be read.
pub(super) fn read(folder: &Path) -> io::Result<u64> {
    let text = match fs::read(folder.join(ACKNOWLEDGED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text?,
    };
    let text = String::from_utf8_lossy(&text);
    let told = text.trim_end().split_once(' ').filter(|(boot, _)| !boot.is_empty() && *boot == boot_id());
    Ok(told.and_then(|(_, lines)| lines.parse().ok()).unwrap_or_default())
}

/// Says nothing any more of a journal that is not used any more.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(ACKNOWLEDGED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_believed_in_its_own_boot_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), 0);
        let count = Count::open(folder.path()).unwrap();
        count.set(7).unwrap();
        assert_eq!(read(folder.path()).unwrap(), 7);
        count.set(3).unwrap();
        drop(Count::open(folder.path()).unwrap());
        assert_eq!(read(folder.path()).unwrap(), 3);
        for other in ["another-boot 00000000000000000007\n", "", "\0\0\0", "7"] {
            fs::write(folder.path().join(ACKNOWLEDGED), other).unwrap();
            assert_eq!(read(folder.path()).unwrap(), 0, "{other:?}");
        }
        forget(folder.path()).unwrap();
        forget(folder.path()).unwrap();
    }
}
