//! Listening on a Unix socket: who may connect, and whose file may be replaced.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, fchmod, flock},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with},
};
use tokio::net::UnixListener;

use crate::{Code, Problem, trust};

/// Connections that wait to be accepted; the kernel's own maximum goes over it.
const BACKLOG: i32 = 4096;

/// A listening socket and its file, which goes when this goes.
#[derive(Debug)]
pub struct LocalSocket {
    /// Where connections come in.
    pub listener: UnixListener,
    file: SocketFile,
}

/// The file, as long as it is ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    lock: Lock,
}

impl LocalSocket {
    /// Listens at `path`, open to whom `mode` says from the first moment. The socket of a program that is
    /// gone is replaced; one where somebody listens, and any other file, are left alone.
    ///
    /// # Errors
    /// [`Code::InUse`]: somebody listens there. [`Code::Usage`]: the path is another file's, too long, or can not be
    /// written.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, Problem> {
        let failed = |hint: &'static str| {
            move |error: io::Error| {
                let what = format!("listening on unix:{}: {error}", path.display());
                let in_use = error.kind() == io::ErrorKind::AddrInUse;
                Problem::new(if in_use { Code::InUse } else { Code::Usage }, what).hint(hint)
            }
        };
        let taken = failed("end the program that listens there, or name another path with --listen");
        let lock = Lock::take(path).map_err(&taken)?;
        remove_stale(path).map_err(&taken)?;
        let unusable = failed("name a path that can be written, of at most 107 bytes");
        let listener = bound(path, mode).map_err(&unusable)?;
        let file = fs::symlink_metadata(path).map_err(&unusable)?;
        let file = SocketFile { path: path.to_owned(), identity: (file.dev(), file.ino()), lock };
        let listener = UnixListener::from_std(listener).map_err(&unusable)?;
        Ok(Self { listener, file })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |file: fs::Metadata| (file.dev(), file.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            let _ = fs::remove_file(&self.path);
        }
        self.lock.remove();
    }
}

/// Held as long as the socket, so that of two programs at one path only one takes its file over.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(socket: &Path) -> io::Result<Self> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        loop {
            let file = trust::private().create(true).truncate(false).write(true).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(in_use()),
                other => other?,
            }
            // Whoever held it before may have removed it while we waited for our turn.
            let same = |there: fs::Metadata| Ok(there.ino() == file.metadata()?.ino());
            match fs::metadata(&path).and_then(same) {
                Ok(true) => return Ok(Self { path, _file: file }),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    /// To be called while it is still held.
    fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !file.file_type().is_socket() {
        let what = "a file that is not a socket is there, so it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match connect(&stream_socket()?, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        _ => Err(in_use()),
    }
}

/// The mode is on the socket before its file exists; what the umask took away is added after.
fn bound(path: &Path, mode: u32) -> io::Result<StdListener> {
    let socket = stream_socket()?;
    fchmod(&socket, Mode::from_raw_mode(mode))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kitty.ipc");
        (folder, path)
    }

    #[tokio::test]
    async fn a_stale_socket_is_taken_over_with_the_mode_asked_for_and_nothing_is_left_behind() {
        let (folder, path) = place();
        drop(StdListener::bind(&path).unwrap());
        for mode in [0o600, 0o660] {
            let socket = LocalSocket::bind(&path, mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            let (accepted, connected) = tokio::join!(socket.listener.accept(), UnixStream::connect(&path));
            drop((accepted.unwrap(), connected.unwrap()));
            drop(socket);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn a_live_socket_is_refused_whether_or_not_its_owner_took_the_lock() {
        let (_folder, path) = place();
        let first = LocalSocket::bind(&path, 0o600).unwrap();
        let problem = LocalSocket::bind(&path, 0o600).unwrap_err();
        assert!(problem.message.contains("another program listens there"), "{problem}");
        drop(first);
        let foreign = StdListener::bind(&path).unwrap();
        assert!(LocalSocket::bind(&path, 0o600).is_err());
        drop(foreign);
        LocalSocket::bind(&path, 0o600).unwrap();
    }

    #[tokio::test]
    async fn any_other_file_is_left_alone_even_behind_a_link() {
        let (folder, path) = place();
        fs::write(&path, "precious").unwrap();
        let problem = LocalSocket::bind(&path, 0o600).unwrap_err();
        assert!(problem.message.contains("left alone"), "{problem}");
        let link = folder.path().join("link.ipc");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(LocalSocket::bind(&link, 0o600).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_file_that_somebody_put_in_its_place_is_not_removed() {
        let (_folder, path) = place();
        let socket = LocalSocket::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[tokio::test]
    async fn of_many_at_once_one_gets_it() {
        let (_folder, path) = place();
        drop(StdListener::bind(&path).unwrap());
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                tokio::task::spawn_blocking(move || LocalSocket::bind(&path, 0o600))
            })
            .collect();
        let mut bound = Vec::new();
        for outcome in tries {
            bound.extend(outcome.await.unwrap().ok());
        }
        assert_eq!(bound.len(), 1);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_named() {
        let (folder, _) = place();
        let problem = LocalSocket::bind(&folder.path().join("x".repeat(120)), 0o600).unwrap_err();
        assert!(problem.hint.contains("107"), "{problem}");
    }
}
