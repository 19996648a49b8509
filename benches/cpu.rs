//! Which processor things run on, and how many files they may open.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Keeps this thread, and everything that it starts from now on, on one processor (the first that is allowed)
/// until dropped. A ping-pong between two of a virtual machine measures the machine.
pub struct Pinned(CpuSet);

impl Pinned {
    /// See the type.
    pub fn here() -> Self {
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap();
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one).unwrap();
        Self(before)
    }
}

/// Lets this thread run on every processor of the machine but the one that [`Pinned`] keeps things on, where there
/// are others.
pub fn move_away() {
    let pinned = sched_getaffinity(None).unwrap();
    let mut others = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|cpu| !pinned.is_set(*cpu)).for_each(|cpu| others.set(cpu));
    // The kernel takes those that there are; an error says that there is none.
    let _ = sched_setaffinity(None, &others);
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).unwrap();
    }
}

/// Lets this process, and those that it starts from now on, open as many files as the system allows.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}
