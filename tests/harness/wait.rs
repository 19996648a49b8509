//! Waiting for a condition instead of for time to pass.

use std::time::{Duration, Instant};

/// How long a test waits for what should come soon. `KITTY_TEST_PATIENCE` (seconds) changes it for slow machines.
pub fn patience() -> Duration {
    let seconds = std::env::var("KITTY_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none within [`patience`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < patience(), "waited {:?} in vain: {what}", patience());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
