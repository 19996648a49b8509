//! Locks and tasks, and what a panic means to them: the one place that decides it.
//!
//! A panic is a defect, and ends as little as is safe. What decides over faults (gate, fleet, book, experiments, store)
//! is never used half changed: a lock that a panic left behind ends the process, which its supervisor starts again
//! within the lease. Everything else ends its own request or task.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook},
    process::abort,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// Characters of a panic's message that are logged: it may quote a caller's text.
const SHOWN: usize = 500;

/// Panics of this process since its start.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What a panic of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPanic {
    /// The task ends, and nothing else: whoever waits for it sees that, or comes again.
    End,
    /// The process ends: without this task, faults would not be ended in time or not be counted.
    Abort,
}

/// Starts a task; every task of the server is started here.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn spawn(on_panic: OnPanic, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        if caught(task).await.is_err() && on_panic == OnPanic::Abort {
            end("a task that the server can not do without panicked");
        }
    })
}

/// Waits for a future, or for its panic.
///
/// # Errors
/// It panicked, and how.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| message(&*panic))
}

/// Runs what may panic, where nothing of it is used afterwards.
///
/// # Errors
/// It panicked, and how.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| message(&*panic))
}

/// Runs what the server can not do without: a panic ends the process.
pub(crate) fn needed(run: impl FnOnce()) {
    if guarded(run).is_err() {
        end("a thread that the server can not do without panicked");
    }
}

/// Takes a lock. One that a panic left behind guards what may be half changed: the process ends.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|_| end("a panic left the state of the server half changed"))
}

/// Counts and logs every panic from now on, whoever catches it.
pub(crate) fn report_panics() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = message(panic.payload());
        tracing::error!(at, what, "a panic: this is a defect; please report it with the log around it");
    }));
}

/// How many panics there were since the start.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

fn end(why: &str) -> ! {
    tracing::error!(why, "the server ends, and is to be started again");
    abort()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why");
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command, sync::Arc, thread};

    use super::*;

    /// Set in the copy of the test program that is to end.
    const CHILD: &str = "KITTY_TEST_TASK_CHILD";

    /// Runs a test of this module again in a process of its own; whether it was aborted.
    fn aborts(test: &str) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let mut command = Command::new(env::current_exe().unwrap());
        let output = command.args(["--exact", &format!("task::tests::{test}")]).env(CHILD, "1").output();
        output.unwrap().status.signal() == Some(rustix::process::Signal::ABORT.as_raw())
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_task_and_nothing_else() {
        let ended = spawn(OnPanic::End, async { panic!("ouch") }).await;
        assert!(ended.is_ok(), "whoever waits is told that it is over");
        assert_eq!(caught(async { 1 }).await, Ok(1));
        assert_eq!(caught(async { panic!("{}", "x".repeat(9999)) }).await, Err::<(), _>("x".repeat(SHOWN)));
        assert_eq!(guarded(|| panic!("no {}", 7)), Err::<(), _>("no 7".to_owned()));
    }

    #[tokio::test]
    async fn a_task_that_is_needed_takes_the_process_with_it() {
        if env::var_os(CHILD).is_none() {
            return assert!(aborts("a_task_that_is_needed_takes_the_process_with_it"));
        }
        let _ = spawn(OnPanic::Abort, async { panic!("ouch") }).await;
    }

    #[test]
    fn state_that_a_panic_left_half_changed_is_not_used() {
        if env::var_os(CHILD).is_none() {
            return assert!(aborts("state_that_a_panic_left_half_changed_is_not_used"));
        }
        let state = Arc::new(Mutex::new(0));
        let half = state.clone();
        let _ = thread::spawn(move || {
            let _held = lock(&half);
            panic!("half way");
        })
        .join();
        drop(lock(&state));
    }
}
