//! The programs that a script needs: whether they are there on its target, without running anything.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use chaos_kitty::script::is_of_the_shell;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use crate::stress::place::PATH;

/// Those of `programs` that are not there, for what runs at the root of that process.
///
/// # Errors
/// Its root can not be looked at.
pub(super) fn missing(pid: u32, programs: &[String]) -> io::Result<Vec<String>> {
    let root = openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let absent = programs.iter().filter(|program| !is_of_the_shell(program) && !is_there(&root, program));
    Ok(absent.cloned().collect())
}

fn is_there(root: &OwnedFd, program: &str) -> bool {
    if program.contains('/') {
        return is_program(root, Path::new(program));
    }
    PATH.split(':').any(|folder| is_program(root, &Path::new(folder).join(program)))
}

/// Links are followed as the target follows them.
fn is_program(root: &OwnedFd, path: &Path) -> bool {
    const ANYBODY: u32 = 0o111;
    let file =
        openat2(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
    file.and_then(fstat).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & ANYBODY != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_wherever_the_shell_would_find_it() {
        let programs =
            ["ls", "/bin/sh", "kitty-no-such", "echo", "/etc/passwd", "/no/such"].map(str::to_owned);
        let missing = missing(std::process::id(), &programs).unwrap();
        assert_eq!(missing, ["kitty-no-such", "/etc/passwd", "/no/such"]);
    }

    #[test]
    fn the_root_is_the_targets_own_and_so_are_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy("/bin/true", bin.join("tool")).unwrap();
        std::os::unix::fs::symlink("/bin/tool", bin.join("link")).unwrap();
        // Where the host has one and the target has not.
        std::os::unix::fs::symlink("/usr/bin/env", bin.join("dangling")).unwrap();
        let root = openat(CWD, folder.path(), OFlags::PATH, Mode::empty()).unwrap();
        let found = ["tool", "link", "dangling", "ls"].map(|program| is_there(&root, program));
        assert_eq!(found, [true, true, false, false]);
    }
}
