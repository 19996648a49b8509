//! Looks at the programs all the while: how long the server takes to answer, and how much memory they have.

use std::{
    fmt,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chaos_kitty::{
    client::{TlsFiles, dial},
    endpoint::Endpoint,
    v1::GetStatusRequest,
};
use tokio::{
    runtime::Builder,
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::bed::{Bed, Memory, memory_of};

/// From one look to the next.
const GAP: Duration = Duration::from_millis(20);
/// An answer that takes longer has not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    answers: Vec<Duration>,
    pub(crate) failed: Vec<String>,
    /// How late this program itself was woken, at the most: its share of a busy machine.
    pub(crate) own: Duration,
    pub(crate) most: Memory,
}

pub(crate) struct Watch {
    thread: JoinHandle<Seen>,
    end: oneshot::Sender<()>,
}

impl Watch {
    pub(crate) fn start(bed: &Bed) -> Self {
        let (end, ended) = oneshot::channel();
        let look = look(bed.server.endpoint(), bed.pids(), ended);
        // On a thread of its own: making extremes keeps the runtime's threads busy.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let thread = thread::spawn(move || runtime.block_on(look));
        Self { thread, end }
    }

    pub(crate) fn end(self) -> Seen {
        let _ = self.end.send(());
        self.thread.join().unwrap()
    }
}

async fn look(socket: Endpoint, pids: [u32; 3], mut ended: oneshot::Receiver<()>) -> Seen {
    let mut seen = Seen::default();
    let mut client = dial(&socket, &TlsFiles::default()).await.unwrap();
    while ended.try_recv().is_err() {
        let begun = Instant::now();
        sleep(GAP).await;
        seen.own = seen.own.max(begun.elapsed().saturating_sub(GAP));
        let begun = Instant::now();
        match timeout(PATIENCE, client.get_status(GetStatusRequest {})).await {
            Ok(Ok(_)) => seen.answers.push(begun.elapsed()),
            Ok(Err(status)) => seen.failed.push(status.to_string()),
            Err(_) => seen.failed.push(format!("no answer within {PATIENCE:?}")),
        }
        let now = memory_of(pids);
        for (most, now) in seen.most.iter_mut().zip(now) {
            *most = now.max(*most);
        }
    }
    seen.answers.sort();
    seen
}

impl Seen {
    pub(crate) fn longest(&self) -> Duration {
        self.answers.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent: usize| self.answers.get((self.answers.len() - 1) * percent / 100);
        write!(
            f,
            "GetStatus: {} answers, {} failed, p50 {:?}, p99 {:?}, longest {:?}; this program was woken {:?} late",
            self.answers.len(),
            self.failed.len(),
            at(50).unwrap(),
            at(99).unwrap(),
            self.longest(),
            self.own
        )
    }
}
