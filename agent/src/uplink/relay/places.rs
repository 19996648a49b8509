//! How many connections the local socket takes, and how many of them one process and one user.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    net::sockopt::socket_peercred,
    process::{Resource, geteuid, getrlimit},
};

/// Connections at a time, where descriptors suffice.
const CONNECTIONS: usize = 1024;
/// Each takes one descriptor, and another to see its process end.
const DESCRIPTORS: usize = 2;
/// Descriptors that are left to everything else, where there are twice as many.
const RESERVE: usize = 128;
/// Below this many descriptors it is said how few connections there are.
const FEW_DESCRIPTORS: usize = 1024;

/// Whose connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Process(i32),
    User(u32),
}

/// See the module.
pub(super) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<Who, usize>,
}

/// A place, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    who: Vec<Who>,
}

impl Places {
    /// As many as this process's descriptors are for.
    pub(super) fn of_this_process() -> Arc<Self> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let places = Self::new(limit);
        if limit < FEW_DESCRIPTORS {
            let connections = places.most;
            tracing::warn!(
                limit,
                connections,
                "the limit on open files is low, so the local socket takes few connections; raise it with \
                 LimitNOFILE= of the unit, or with `ulimit -n`"
            );
        }
        Arc::new(places)
    }

    fn new(descriptors: usize) -> Self {
        let rest = descriptors - RESERVE.min(descriptors / 2);
        Self { most: (rest / DESCRIPTORS).clamp(1, CONNECTIONS), taken: Mutex::default() }
    }

    /// A place for the process at the other end of this socket.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn take(self: &Arc<Self>, socket: impl AsFd) -> Result<Place, String> {
        // Whose process is not known counts as one.
        let (process, user) = socket_peercred(socket)
            .map_or((0, u32::MAX), |peer| (peer.pid.as_raw_nonzero().get(), peer.uid.as_raw()));
        let mut who = vec![(Who::Process(process), self.most.div_ceil(8))];
        // The user of this agent could end it anyway.
        if user != geteuid().as_raw() {
            who.push((Who::User(user), self.most.div_ceil(2)));
        }
        self.place(&who)
    }

    fn place(self: &Arc<Self>, who: &[(Who, usize)]) -> Result<Place, String> {
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(format!("all {} connections are in use", self.most));
        }
        let full = who.iter().find(|(who, most)| taken.by.get(who).is_some_and(|has| has >= most));
        if let Some((who, most)) = full {
            return Err(match who {
                Who::Process(pid) => format!("the process {pid} has {most} connections already"),
                Who::User(uid) => format!("the user {uid} has {most} connections already"),
            });
        }
        let who: Vec<_> = who.iter().map(|(who, _)| *who).collect();
        taken.all += 1;
        who.iter().for_each(|who| *taken.by.entry(*who).or_default() += 1);
        Ok(Place { places: Arc::clone(self), who })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        for who in &self.who {
            if let Some(count) = taken.by.get_mut(who) {
                *count -= 1;
                if *count == 0 {
                    taken.by.remove(who);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_process_nor_a_user_takes_all_places() {
        let places = Arc::new(Places { most: 16, taken: Mutex::default() });
        let take = |process, user| {
            places
                .place(&[(Who::Process(process), 2), (Who::User(user), 8)])
                .map_err(|why| why.contains("process"))
        };
        let mut held: Vec<_> = (0..8).map(|number| take(number / 2, 7).unwrap()).collect();
        assert_eq!(take(0, 9).err(), Some(true), "two of one process");
        assert_eq!(take(99, 7).err(), Some(false), "eight of one user");
        let other = take(99, 8).unwrap();
        drop(held.pop());
        assert!(take(50, 7).is_ok(), "a place was given back");
        drop((held, other));
        let taken = places.taken();
        assert_eq!((taken.all, taken.by.len()), (0, 0));
    }

    #[test]
    fn few_descriptors_make_few_places() {
        for (descriptors, most) in [(0, 1), (64, 16), (1024, 448), (20_000, 1024), (usize::MAX, 1024)] {
            assert_eq!(Places::new(descriptors).most, most, "{descriptors}");
        }
    }
}
