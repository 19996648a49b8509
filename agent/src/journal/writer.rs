//! The thread that appends to the journal: what waits at the same time is written, and synced, at once.

use std::{io, thread, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Entry, Held, folder::Records};

/// Entries that may wait for the disk.
const WAITING: usize = 1024;

/// Longest wait for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// A handle to the thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    entry: Entry,
    done: Option<oneshot::Sender<io::Result<()>>>,
}

impl Journal {
    /// Starts the thread.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(records: Records) -> io::Result<Self> {
        let (requests, received) = mpsc::channel(WAITING);
        thread::Builder::new().name("journal".to_owned()).spawn(move || append(records, received))?;
        Ok(Self { requests })
    }

    /// Returns once it is written that this is held, or may be; where the undo outlives a boot, once it is on
    /// the disk.
    ///
    /// # Errors
    /// It is not, e.g. the disk is full: nothing may be injected on account of it.
    pub async fn hold(&self, held: Held) -> io::Result<()> {
        let (done, written) = oneshot::channel();
        let asked = async {
            self.requests
                .send(Request { entry: Entry::Held(held), done: Some(done) })
                .await
                .map_err(|_| gone())?;
            written.await.unwrap_or_else(|_| Err(gone()))
        };
        timeout(PATIENCE, asked).await?
    }

    /// Writes, in a while, that it is over.
    pub async fn over(&self, id: String) {
        if self.requests.send(Request { entry: Entry::Over { id }, done: None }).await.is_err() {
            tracing::error!("the journal's thread is gone");
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("its thread is gone")
}

fn append(mut records: Records, mut requests: mpsc::Receiver<Request>) {
    let mut waiting = Vec::new();
    while requests.blocking_recv_many(&mut waiting, WAITING) > 0 {
        let (entries, waits): (Vec<_>, Vec<_>) =
            waiting.drain(..).map(|request| (request.entry, request.done)).unzip();
        let written = records.append(entries);
        if let Err(error) = &written {
            tracing::error!(%error, "the journal can not be written");
        }
        for done in waits.into_iter().flatten() {
            let told = done.send(match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            });
            if told.is_err() {
                tracing::warn!("whoever wanted something written in the journal did not wait for it");
            }
        }
    }
}
