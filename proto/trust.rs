//! Whose a socket, folder or file is, and who could put another one in its place: what others can make or change is
//! not trusted, as ssh does.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use crate::{Code, Problem, nss};

/// The account of the packaged server.
const SERVICE: &str = "chaos-kitty";

/// Symbolic links that are followed on one way, as many as the kernel follows.
const LINKS: usize = 40;

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// What a place on the way to a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    /// Its mode means nothing.
    Link,
    /// Its mode says who may connect.
    Socket,
    File,
}

/// A place on the way to a file, as lstat shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    kind: Kind,
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Whose files are trusted: root's, those of this process's effective user, and where it was asked for, of the
/// packaged server's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    own: u32,
    service: Option<(u32, u32)>,
}

impl Trust {
    /// Root and this process's effective user.
    pub fn own() -> Self {
        Self { own: rustix::process::geteuid().as_raw(), service: None }
    }

    /// The account `chaos-kitty` too, where the host has it. Its group may write to the packaged folder.
    ///
    /// # Errors
    /// The host's names cannot be looked up.
    pub fn with_service(self) -> io::Result<Self> {
        Ok(Self { service: nss::user(SERVICE)?.map(|user| (user.uid, user.gid)), ..self })
    }

    /// Whether what a user says or makes is trusted.
    pub fn in_user(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own || self.service.is_some_and(|(service, _)| uid == service)
    }

    /// Whether a path that is there, and every folder and link on the way to it, is of somebody who is trusted, and
    /// cannot be replaced by anybody else.
    ///
    /// # Errors
    /// [`Code::Untrusted`]: which is not, and how to mend it. [`Code::CannotLook`].
    pub fn check(&self, path: &Path) -> Result<(), Problem> {
        self.check_way(path, false)
    }

    fn check_way(&self, path: &Path, leads_on: bool) -> Result<(), Problem> {
        let unseen = |error| cannot_look(path, error);
        self.judge(&way(path).map_err(unseen)?, leads_on, nss::is_private).map_err(|why| match why {
            Why::Distrust(what) => untrusted(&what),
            Why::Unknown(error) => unseen(error),
        })
    }

    /// The same for what may not be there yet; then for the folders that are. In a sticky one, what is made there with
    /// [`private`] is nobody else's.
    ///
    /// # Errors
    /// See [`Self::check`].
    pub fn check_if_there(&self, path: &Path) -> Result<(), Problem> {
        match fs::symlink_metadata(path) {
            Ok(_) => self.check(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent() {
                Some(above) if above.as_os_str().is_empty() => self.check_way(Path::new("."), true),
                Some(above) if above.symlink_metadata().is_ok() => self.check_way(above, true),
                Some(above) => self.check_if_there(above),
                None => Ok(()),
            },
            Err(error) => Err(cannot_look(path, error)),
        }
    }

    /// The same for a folder with all that lies directly in it. What is no folder is looked at alone: whoever opens it
    /// says what is wrong.
    ///
    /// # Errors
    /// See [`Self::check`].
    pub fn check_folder(&self, folder: &Path) -> Result<(), Problem> {
        self.check(folder)?;
        let unseen = |error| cannot_look(folder, error);
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
            entries => entries.map_err(unseen)?,
        };
        for entry in entries {
            self.check(&entry.map_err(unseen)?.path())?;
        }
        Ok(())
    }

    /// Decides. `leads_on`: the last place is a folder on the way to what is not there yet. `is_private(group, owner)`:
    /// the group has no member but the owner.
    fn judge(
        &self,
        way: &[Place],
        leads_on: bool,
        is_private: impl Fn(u32, u32) -> io::Result<bool>,
    ) -> Result<(), Why> {
        for (index, place) in way.iter().enumerate() {
            let shown = place.path.display();
            if !self.in_user(place.uid) {
                let what =
                    format!("{shown} belongs to uid {}, which is neither root nor this user", place.uid);
                return Err(Why::Distrust(what));
            }
            // In a sticky folder nobody can replace what is another's, and that the next belongs to a trusted user
            // is seen when it is its turn. As the last one, others can put files into it.
            let leads_on = leads_on || index + 1 < way.len();
            let is_sticky = place.mode & STICKY != 0 && place.kind == Kind::Folder && leads_on;
            if is_sticky || matches!(place.kind, Kind::Link | Kind::Socket) {
                continue;
            }
            if place.mode & OTHERS_WRITE != 0 {
                return Err(Why::Distrust(format!(
                    "every user may write to {shown}; run: chmod o-w {shown}"
                )));
            }
            let is_service = self.service.is_some_and(|(_, group)| group == place.gid);
            let shared = place.mode & GROUP_WRITES != 0 && !is_service;
            if shared && !is_private(place.gid, place.uid).map_err(Why::Unknown)? {
                let what =
                    format!("others of group {} may write to {shown}; run: chmod g-w {shown}", place.gid);
                return Err(Why::Distrust(what));
            }
        }
        Ok(())
    }
}

/// Why a path is not trusted.
enum Why {
    Distrust(String),
    Unknown(io::Error),
}

fn untrusted(what: &impl fmt::Display) -> Problem {
    Problem::new(Code::Untrusted, format!("not trusted: {what}"))
        .hint("somebody else could have put it there or change it; name another one, or mend owner and mode")
}

fn cannot_look(path: &Path, error: io::Error) -> Problem {
    Problem::new(Code::CannotLook, format!("looking whose {} is: {error}", path.display()))
}

/// The user at the other end of a connection is not one whose word counts.
pub(crate) fn untrusted_peer(path: &Path, uid: u32) -> Problem {
    untrusted(&format_args!("at {} listens uid {uid}, which is neither root nor this user", path.display()))
}

/// Every place on the way to a path, and where symbolic links lead, from the root on.
fn way(path: &Path) -> io::Result<Vec<Place>> {
    let whole = std::path::absolute(path)?;
    let mut rest: VecDeque<OsString> = names(&whole);
    let mut at = PathBuf::from("/");
    let mut found = vec![look(&at)?];
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let place = look(&at.join(&name))?;
        if place.kind == Kind::Link {
            links += 1;
            if links > LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = fs::read_link(&place.path)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                rest.push_front(name);
            }
        } else {
            at.push(&name);
        }
        found.push(place);
    }
    Ok(found)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|one| matches!(one, Component::Normal(_) | Component::ParentDir));
    names.map(|one| one.as_os_str().to_owned()).collect()
}

fn look(path: &Path) -> io::Result<Place> {
    let seen = fs::symlink_metadata(path)?;
    let kind = match seen.file_type() {
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_symlink() => Kind::Link,
        kind if kind.is_socket() => Kind::Socket,
        _ => Kind::File,
    };
    Ok(Place { path: path.to_owned(), kind, uid: seen.uid(), gid: seen.gid(), mode: seen.mode() })
}

/// How a file is opened that only its owner may read and write, whatever the umask; a symbolic link is not followed.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Makes a new file beside `path` that can take its place by a rename. One that was left there, and a link that was
/// put there, goes.
///
/// # Errors
/// It cannot be made.
pub fn draft(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let draft = PathBuf::from(name);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = private().write(true).create_new(true).open(&draft)?;
    Ok((draft, file))
}

/// Replaces a file, so that a crash leaves the old one or the new one; fsynced, with its folder.
///
/// # Errors
/// It cannot be written; the old one stays.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let (draft, mut file) = draft(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    sync_folder(path)
}

/// Makes what was done in a file's folder outlive a power failure.
///
/// # Errors
/// The folder cannot be synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
