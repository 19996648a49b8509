//! What an agent keeps in its state folder over restarts: its id, what it has seen of its server, and a lock,
//! so that two agents never share a folder.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use chaos_kitty::{
    Code, Problem,
    hello::check_id,
    limits,
    trust::{self, Trust},
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};

use crate::host::process::Process;

const LOCK: &str = "agent.lock";
const ID: &str = "agent-id";
const SEEN: &str = "seen.json";
const JOURNAL: &str = "journal";

/// How long the guard of an agent that is gone is waited for. An undo that runs programs may take a while.
const GUARD_LIMIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What was seen of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// Everything was to be reverted and nothing started, and there was no Unlatch since.
    pub(crate) latched: bool,
    /// The server whose epoch it is. Empty: none yet.
    pub(crate) server_id: String,
    /// The newest epoch obeyed.
    pub(crate) epoch: u64,
}

/// The folder, for as long as the agent runs.
pub(crate) struct State {
    folder: PathBuf,
    lock: Arc<File>,
    put_back: Vec<String>,
}

impl State {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// [`Code::Usage`]: it can not be made or locked. [`Code::Untrusted`]: another user has made it or something in it,
    /// or could: its journal says what is run. [`Code::InUse`]: another agent uses it. While the guard of an agent that
    /// is gone puts back what was held, it is waited for.
    pub(crate) fn open(folder: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            let in_use = error.kind() == io::ErrorKind::ResourceBusy;
            let code = if in_use { Code::InUse } else { Code::Usage };
            Problem::new(code, format!("state folder {}: {error}", folder.display()))
                .hint("name a folder of this agent's own with --state DIR")
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let trust = Trust::own();
        trust.check_folder(folder)?;
        let journal = folder.join(JOURNAL);
        if journal.symlink_metadata().is_ok() {
            trust.check_folder(&journal)?;
        }
        let path = folder.join(LOCK);
        let lock = trust::private().create(true).truncate(false).read(true).write(true).open(path);
        let lock = lock.map_err(failed)?;
        let put_back = take(&lock).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), lock: Arc::new(lock), put_back })
    }

    /// Ids of the actions that the guard of an earlier agent has put back since that was gone.
    pub(crate) fn put_back(&self) -> &[String] {
        &self.put_back
    }

    /// The lock, for the guard to hold too.
    pub(crate) fn lock(&self) -> Arc<File> {
        Arc::clone(&self.lock)
    }

    /// The journal's folder.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// The file that remembers steps of experiments.
    pub(crate) fn steps(&self) -> PathBuf {
        self.folder.join("steps")
    }

    /// The agent's id: the given one, else that of last time, else one made of the host's name. It is kept.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`]: the given one can not be an id. [`Code::Usage`]: it can not be kept.
    pub(crate) fn agent_id(&self, given: Option<&str>, host: &str) -> Result<String, Problem> {
        if let Some(given) = given {
            check_id("--name", given)?;
        }
        let path = self.folder.join(ID);
        let kept = match fs::read(&path) {
            Ok(text) => String::from_utf8(text).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let kept = kept.as_deref().map(str::trim).filter(|id| check_id(ID, id).is_ok());
        let id = given.or(kept).map_or_else(|| id_of_host(host), str::to_owned);
        if kept != Some(id.as_str()) {
            trust::replace(&path, format!("{id}\n").as_bytes()).map_err(|error| {
                Problem::new(
                    Code::Usage,
                    format!("keeping the agent's id in {}: {error}", self.folder.display()),
                )
            })?;
        }
        Ok(id)
    }

    /// What was seen of the server before this start. One that makes no sense counts as none.
    ///
    /// # Errors
    /// [`Code::Usage`]: it is there and cannot be read. A halt that it may tell of must not be forgotten.
    pub(crate) fn seen(&self) -> Result<Seen, Problem> {
        let path = self.folder.join(SEEN);
        match fs::read(&path).map(|text| serde_json::from_slice(&text)) {
            Ok(Ok(seen)) => Ok(sane(seen)),
            Ok(Err(error)) => {
                tracing::warn!(path = %path.display(), %error, "what was seen of the server is not readable");
                Ok(Seen::default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Seen::default()),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    /// Keeps every change, fsynced, without holding up whoever makes it. Ends when `seen` is dropped.
    pub(crate) fn keep(self: &Arc<Self>, mut seen: watch::Receiver<Seen>) -> JoinHandle<()> {
        let state = Arc::clone(self);
        tokio::spawn(async move {
            while seen.changed().await.is_ok() {
                let (state, news) = (Arc::clone(&state), seen.borrow_and_update().clone());
                let kept = tokio::task::spawn_blocking(move || state.write_seen(&news)).await;
                if let Ok(Err(error)) = kept {
                    tracing::error!(%error, "what was seen of the server is not kept for the next start");
                }
            }
        })
    }

    /// Forgets which server was obeyed, for the one that comes next; a halt that it ordered holds on.
    ///
    /// # Errors
    /// The folder can not be written; nothing is forgotten then.
    pub(crate) fn forget_server(&self, seen: &Seen) -> io::Result<()> {
        self.write_seen(&Seen { latched: seen.latched, ..Seen::default() })?;
        // What the last agent's guard said is for the next agent.
        let mut lock: &File = &self.lock;
        lock.write_all(self.put_back.iter().map(|id| format!("{id}\n")).collect::<String>().as_bytes())
    }

    fn write_seen(&self, seen: &Seen) -> io::Result<()> {
        trust::replace(&self.folder.join(SEEN), &serde_json::to_vec(seen)?)
    }
}

/// An epoch that nothing could be newer than was never that of a server.
fn sane(seen: Seen) -> Seen {
    if seen.epoch < limits::SANE_EPOCH {
        return seen;
    }
    tracing::warn!(server = seen.server_id, epoch = seen.epoch, "an epoch that is none is forgotten");
    Seen { latched: seen.latched, ..Seen::default() }
}

/// Takes the lock, and writes down who has it: one line, behind which our guard writes the ids of what it puts back
/// after us (see [`chaos_kitty_guard::run`]). Gives those of the one before.
fn take(mut lock: &File) -> io::Result<Vec<String>> {
    let begun = Instant::now();
    while let Err(error) = flock(lock, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error.into());
        }
        if let Some(holder) = holder(lock)?.filter(|holder| !holder.has_ended()) {
            return Err(in_use(format!(
                "another agent (process {holder}) uses it, and its guard puts back what it holds"
            )));
        }
        if begun.elapsed() > GUARD_LIMIT {
            return Err(in_use("the guard of an agent that is gone is not done with putting back yet"));
        }
        thread::sleep(LOOK_AGAIN);
    }
    let put_back = contents(lock)?.lines().skip(1).map(str::to_owned).collect();
    lock.set_len(0)?;
    let own = Process::now(std::process::id()).ok_or_else(|| io::Error::other("/proc is not mounted"))?;
    lock.seek(SeekFrom::Start(0))?;
    lock.write_all(format!("{}\n", serde_json::to_string(&own)?).as_bytes())?;
    Ok(put_back)
}

fn in_use(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, why.into())
}

/// Who wrote last that it has the lock. `None`: somebody is about to.
fn holder(lock: &File) -> io::Result<Option<Process>> {
    Ok(contents(lock)?.lines().next().and_then(|line| serde_json::from_str(line).ok()))
}

fn contents(mut lock: &File) -> io::Result<String> {
    let mut text = Vec::new();
    lock.seek(SeekFrom::Start(0))?;
    lock.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(Code::Usage, format!("reading {}: {error}", path.display()))
        .hint("make it readable for the agent's user, or name another folder with --state DIR")
}

/// A host's name, made an id: what may not be in one becomes a dash.
fn id_of_host(host: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let id: String = host.chars().take(63).map(allowed).collect();
    if id.is_empty() { "agent".to_owned() } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_agent_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = State::open(&path).unwrap();
        assert!(State::open(&path).is_err_and(|problem| problem.message.contains("another agent")));
        drop(first);
        State::open(&path).unwrap();
    }

    #[test]
    fn what_others_made_or_can_change_is_not_trusted_and_left_as_it_is() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("state");
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = || State::open(&folder).err().map(|problem| problem.code);
        drop(State::open(&folder).unwrap());
        fs::create_dir(folder.join(JOURNAL)).unwrap();
        let records = folder.join(JOURNAL).join("records");
        fs::write(&records, "").unwrap();
        mode(&records, 0o600);
        assert_eq!(refused(), None);
        for path in [&folder, &folder.join(JOURNAL), &records] {
            let before = fs::metadata(path).unwrap().permissions().mode();
            mode(path, before | 0o002);
            assert_eq!(refused(), Some(Code::Untrusted), "{}", path.display());
            mode(path, before);
            if rustix::process::geteuid().is_root() {
                chown(path, Some(65534), None).unwrap();
                assert_eq!(refused(), Some(Code::Untrusted), "{}", path.display());
                chown(path, Some(0), None).unwrap();
            }
        }
        assert_eq!(refused(), None);
        assert_eq!(fs::metadata(folder.join(LOCK)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_guard_wrote_behind_its_agent_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        assert_eq!(state.put_back(), [""; 0]);
        // As the guard's standard output.
        let mut guards = state.lock().try_clone().unwrap();
        drop(state);
        guards.write_all(b"a\nb\n").unwrap();
        drop(guards);
        assert_eq!(State::open(folder.path()).unwrap().put_back(), ["a", "b"]);
        assert_eq!(State::open(folder.path()).unwrap().put_back(), [""; 0]);
    }

    #[test]
    fn the_id_is_that_of_last_time_unless_another_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        assert_eq!(state.agent_id(None, "web 1/x").unwrap(), "web-1-x");
        assert_eq!(state.agent_id(None, "renamed").unwrap(), "web-1-x");
        assert_eq!(state.agent_id(Some("db-1"), "renamed").unwrap(), "db-1");
        assert_eq!(state.agent_id(None, "renamed").unwrap(), "db-1");
        assert!(state.agent_id(Some("a/b"), "h").is_err());
        assert_eq!(id_of_host(""), "agent");
    }

    #[tokio::test]
    async fn what_was_seen_survives_a_restart_and_a_broken_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(folder.path()).unwrap());
        assert_eq!(state.seen().unwrap(), Seen::default());
        let seen = Seen { latched: true, server_id: "s".into(), epoch: 7 };
        let (news, watched) = watch::channel(Seen::default());
        let keeper = state.keep(watched);
        news.send_replace(seen.clone());
        drop(news);
        keeper.await.unwrap();
        assert_eq!(state.seen().unwrap(), seen);
        fs::write(folder.path().join(SEEN), "{").unwrap();
        assert_eq!(state.seen().unwrap(), Seen::default());
    }

    #[tokio::test]
    async fn a_server_is_forgotten_but_neither_its_halt_nor_what_a_guard_said() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        for epoch in [7, u64::MAX] {
            state.write_seen(&Seen { latched: true, server_id: "s".into(), epoch }).unwrap();
            assert_eq!(state.seen().unwrap().epoch, if epoch == 7 { 7 } else { 0 });
        }
        let mut guards = state.lock().try_clone().unwrap();
        drop(state);
        guards.write_all(b"a\nb\n").unwrap();
        drop(guards);
        let state = State::open(folder.path()).unwrap();
        state.forget_server(&state.seen().unwrap()).unwrap();
        assert_eq!(state.seen().unwrap(), Seen { latched: true, ..Seen::default() });
        drop(state);
        assert_eq!(State::open(folder.path()).unwrap().put_back(), ["a", "b"]);
    }
}
