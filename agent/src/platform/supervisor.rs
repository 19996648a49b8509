//! Whoever runs a target and can end and start it: a container engine, the service manager.

use std::fmt;

use chaos_kitty::{Problem, signal::Signal};
use chaos_kitty_guard::{Process, Undo};
use futures_util::future::BoxFuture;

/// What a supervisor answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// The way to whoever runs one target.
pub trait Supervisor: fmt::Debug + Send + Sync {
    /// Sends a signal: to the target's main process, or to all of its processes.
    fn kill(&self, signal: Signal, all: bool) -> Answer<'_, ()>;

    /// Ends the target and starts it again. Returns when it runs again.
    fn restart(&self) -> Answer<'_, ()>;

    /// Ends the target, for as long as nobody starts it: in order, or by SIGKILL. Returns when it has ended, or with a
    /// problem when it is not being ended; with [`Code::NoAnswer`](chaos_kitty::Code::NoAnswer), it may be.
    fn stop(&self, kill: bool) -> Answer<'_, ()>;

    /// How a stop is undone: while it is under way, and once it is known to be over. Both start the target and what
    /// ended along with it; the first one also where the end is still to come.
    fn undo_stop(&self, stopping: Stopping, along: &[String]) -> Result<Undo, Problem>;

    /// How the target is now.
    fn look(&self) -> Answer<'_, Standing>;
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// It may be under way, and go on whatever becomes of whoever ordered it.
    UnderWay,
    /// It is over.
    Over,
}

/// How a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// In the words of whoever runs it, e.g. "active (running)".
    pub state: String,
    /// Its main process, if it runs.
    pub main: Option<Process>,
    /// What runs and ends along with it when it is stopped, by name: to be started as well.
    pub along: Vec<String>,
    /// Why nothing could start it again once it has ended. `None`: it can be started.
    pub vanishes: Option<&'static str>,
}
