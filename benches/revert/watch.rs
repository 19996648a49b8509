//! Looks at targets until their faults have ended. By a thread that comes before all others, since it is not its own
//! waiting that is to be measured.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::{process::setpriority_process, thread::gettid};

/// Between two looks at the targets.
const LOOK: Duration = Duration::from_micros(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a fault has ended.
pub(crate) type Ended = Box<dyn Fn() -> bool + Send>;

/// Does something, and looks when each fault has ended. Gives what was done, when it began, and the ends.
pub(crate) async fn watch<T: Send + 'static, const N: usize>(
    deed: impl FnOnce() -> T + Send + 'static,
    ended: [Ended; N],
) -> (T, Instant, [Instant; N]) {
    let watching = tokio::task::spawn_blocking(move || {
        // Where that is not allowed, the figures are the larger for it.
        _ = setpriority_process(Some(gettid()), -20);
        let begun = Instant::now();
        let done = deed();
        let mut ends = [None; N];
        while ends.iter().any(Option::is_none) {
            for (end, ended) in ends.iter_mut().zip(&ended).filter(|(end, _)| end.is_none()) {
                *end = ended().then(Instant::now);
            }
            assert!(begun.elapsed() < PATIENCE, "a fault is left: {ends:?}");
            thread::sleep(LOOK);
        }
        (done, begun, ends.map(Option::unwrap))
    });
    watching.await.unwrap()
}
