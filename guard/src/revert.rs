//! Carrying undos out: local ones at once, all of them; then the others, with a time limit and retries; what
//! still fails is stuck, with the command for a person.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    clock::boot_time,
    message::{Reverted, Why},
    undo::{Progress, Undo},
};

/// How long a local undo may take, from its first try.
pub const LOCAL_LIMIT: Duration = Duration::from_secs(5);

/// Pause between two looks at a local undo that takes time.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Pauses before the second and later tries of an undo that runs a program or makes a request.
const RETRIES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// What became of one undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was to be done, as the command that a person can run.
    pub command: String,
    /// Why it could not be done. `None`: it is done.
    pub failure: Option<String>,
}

impl Outcome {
    fn of(undo: &Undo, failure: Option<String>) -> Self {
        Self { command: undo.to_string(), failure }
    }
}

/// Local undos under way. Never blocks.
#[derive(Debug)]
pub struct Local {
    undos: Vec<(Undo, Option<Outcome>)>,
}

impl Local {
    /// Issues every local one of `undos`.
    pub fn begin(undos: &[Undo]) -> Self {
        let local = undos.iter().filter(|undo| undo.is_local());
        let mut begun = Self { undos: local.map(|undo| (undo.clone(), None)).collect() };
        begun.step(false);
        begun
    }

    /// Looks again at those that were not done. True: all are over. After `LOCAL_LIMIT` the caller passes
    /// `last`, and what is not done then has failed.
    pub fn step(&mut self, last: bool) -> bool {
        for (undo, outcome) in self.undos.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
            *outcome = match undo.step() {
                Ok(Progress::Done) => Some(Outcome::of(undo, None)),
                Ok(Progress::Again) if last => {
                    Some(Outcome::of(undo, Some("it had no effect in time".to_owned())))
                }
                Err(error) if last => Some(Outcome::of(undo, Some(error.to_string()))),
                Ok(Progress::Again) | Err(_) => None,
            };
        }
        self.is_over()
    }

    /// Whether each has its outcome.
    pub fn is_over(&self) -> bool {
        self.undos.iter().all(|(_, outcome)| outcome.is_some())
    }

    /// The outcomes so far.
    pub fn outcomes(self) -> Vec<Outcome> {
        self.undos.into_iter().filter_map(|(_, outcome)| outcome).collect()
    }
}

/// Carries out those undos that are not local, one after the other. Blocks.
pub fn slow(undos: &[Undo]) -> Vec<Outcome> {
    undos.iter().filter(|undo| !undo.is_local()).map(persist).collect()
}

/// Carries all out, for whoever reverts in the guard's place. Blocks. `settled` as in [`Reverted`].
pub fn revert(id: String, why: Why, undos: &[Undo], settled: bool) -> Reverted {
    let (begun, began) = (Instant::now(), boot_time());
    let mut local = Local::begin(undos);
    let at = boot_time();
    while !local.is_over() {
        thread::sleep(LOOK_AGAIN);
        local.step(begun.elapsed() > LOCAL_LIMIT);
    }
    let mut outcomes = local.outcomes();
    outcomes.extend(slow(undos));
    Reverted { id, why, began, at, settled, outcomes }
}

fn persist(undo: &Undo) -> Outcome {
    let mut tried = undo.step();
    for pause in RETRIES {
        if tried.is_ok() {
            break;
        }
        thread::sleep(pause);
        tried = undo.step();
    }
    Outcome::of(undo, tried.err().map(|error| error.to_string()))
}
