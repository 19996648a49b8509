//! The places of one address: who has one, and who has had nothing under way for the longest time and makes room.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::PeerInfo;
use crate::task::lock;

/// A connection on which nothing has been under way for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// The last places are only for whoever has few: one host, or one user, can not take all.
const KEPT: usize = 64;
const FEW: usize = 8;
/// How long a connection that makes room may take to be gone.
const LEAVING: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Seats {
    begun: Instant,
    free: Arc<Semaphore>,
    kept: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    last: u64,
    activities: HashMap<u64, Arc<Activity>>,
    by_source: HashMap<Source, usize>,
}

/// Where connections come from, as far as it is known before they say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Host(IpAddr),
    User(u32),
    Unknown,
}

impl Source {
    fn of(peer: &PeerInfo) -> Self {
        match (peer.tcp, peer.unix) {
            (Some(address), _) => Self::Host(address.ip()),
            (None, Some(process)) => Self::User(process.uid),
            (None, None) => Self::Unknown,
        }
    }
}

/// A place, given back when dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    source: Source,
    pub(super) activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        taken.activities.remove(&self.number);
        if let Some(count) = taken.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let kept = KEPT.min(most / 8);
        let free = Arc::new(Semaphore::new(most));
        Arc::new(Self { begun: Instant::now(), free, kept, taken: Mutex::default() })
    }

    /// The places that are free.
    pub(super) fn free(&self) -> &Arc<Semaphore> {
        &self.free
    }

    /// A place for a new connection: a free one, or that of whoever has been idle for the longest time.
    pub(super) async fn take(self: &Arc<Self>, peer: &PeerInfo) -> Option<Seat> {
        let source = Source::of(peer);
        if self.is_full_for(source) && !self.make_room() {
            return None;
        }
        let permit = timeout(LEAVING, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?;
        let activity = Arc::new(Activity::new(self.begun));
        let mut taken = lock(&self.taken);
        taken.last += 1;
        let number = taken.last;
        taken.activities.insert(number, Arc::clone(&activity));
        *taken.by_source.entry(source).or_default() += 1;
        drop(taken);
        Some(Seat { seats: Arc::clone(self), number, source, activity, _permit: permit })
    }

    fn is_full_for(&self, source: Source) -> bool {
        let has_many = lock(&self.taken).by_source.get(&source).is_some_and(|count| *count >= FEW);
        self.free.available_permits() <= if has_many { self.kept } else { 0 }
    }

    /// Has the connection closed on which nothing has been under way for the longest time. False: there is none.
    fn make_room(&self) -> bool {
        let taken = lock(&self.taken);
        let idle = taken.activities.values().filter(|activity| activity.is_idle());
        let longest = idle.min_by_key(|activity| activity.idle_since.load(Ordering::Relaxed));
        longest.map(|activity| activity.leave.cancel()).is_some()
    }
}

/// What a connection has under way.
pub(super) struct Activity {
    /// The same for all connections of an address.
    begun: Instant,
    open: AtomicUsize,
    requests: AtomicU64,
    /// When the last request ended, in milliseconds since `begun`.
    idle_since: AtomicU64,
    leave: CancellationToken,
}

/// A request under way, with its answer.
pub(super) struct Open(Arc<Activity>);

impl Activity {
    fn new(begun: Instant) -> Self {
        let activity = Self {
            begun,
            open: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            leave: CancellationToken::new(),
        };
        activity.idle_since.store(activity.now(), Ordering::Relaxed);
        activity
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request begins.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Whether there ever was a request.
    pub(super) fn was_used(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && !self.leave.is_cancelled()
    }

    /// Comes back when the connection is to be closed: it makes room, or has been idle for too long.
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.leave.cancelled() => {}
            () = self.idle_for_long() => {}
        }
    }

    async fn idle_for_long(&self) {
        let mut wait = IDLE;
        loop {
            sleep(wait).await;
            let idle = self.now().saturating_sub(self.idle_since.load(Ordering::Relaxed));
            let idle = Duration::from_millis(idle);
            if self.is_idle() && idle >= IDLE {
                return;
            }
            wait = if self.is_idle() { IDLE.saturating_sub(idle) } else { IDLE };
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: u8) -> PeerInfo {
        PeerInfo { tcp: Some(([10, 0, 0, host], 4711).into()), ..PeerInfo::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_who_is_busy_stays() {
        let seats = Seats::new(3);
        let busy = seats.take(&from(1)).await.unwrap();
        let under_way = busy.activity.open();
        let first = seats.take(&from(1)).await.unwrap();
        sleep(Duration::from_millis(10)).await;
        let second = seats.take(&from(1)).await.unwrap();
        let leaving = async {
            first.activity.over().await;
            drop(first);
        };
        let peer = from(2);
        let (newcomer, ()) = tokio::join!(seats.take(&peer), leaving);
        let newcomer = newcomer.unwrap();
        assert!(second.activity.is_idle(), "it was idle for a shorter time");
        let all = (second.activity.open(), newcomer.activity.open());
        assert!(seats.take(&from(3)).await.is_none(), "nobody is idle");
        drop((busy, all, under_way, second, newcomer));
        assert_eq!(seats.free.available_permits(), 3);
        assert!(lock(&seats.taken).activities.is_empty() && lock(&seats.taken).by_source.is_empty());
    }

    #[tokio::test]
    async fn the_last_places_are_not_for_who_has_many() {
        let seats = Seats::new(80);
        let mut held = Vec::new();
        while let Some(seat) = seats.take(&from(1)).await {
            held.push((seat.activity.open(), seat));
        }
        assert_eq!(held.len(), 70);
        assert!(seats.take(&from(2)).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_when_it_was_idle_for_long_and_not_before() {
        let seats = Seats::new(3);
        let seat = seats.take(&from(1)).await.unwrap();
        let under_way = seat.activity.open();
        assert!(timeout(IDLE * 5, seat.activity.over()).await.is_err());
        drop(under_way);
        let ended = Instant::now();
        seat.activity.over().await;
        assert!(ended.elapsed() >= IDLE && ended.elapsed() <= IDLE * 2, "{:?}", ended.elapsed());
    }
}
