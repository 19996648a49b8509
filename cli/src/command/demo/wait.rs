//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use chaos_kitty::{Code, Problem};

/// How long the demo waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
///
/// # Errors
/// There is none in time.
pub(super) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T, Problem> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Problem::new(Code::NoAnswer, format!("waited {PATIENCE:?} in vain: {what}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
