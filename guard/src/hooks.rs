//! For the tests that prove that every fault ends (`tests/torture`): points at which this process dies or
//! stops, and guarantees that are taken away. Without the feature `test-hooks`, and in every release whatever its
//! features, all of it is nothing: with it a variable could end this program.

/// The variable that names a point: `NAME[:N][=kill|stop|panic]`, the N-th passing (1) and how to end (kill). It panics
/// at every passing from the N-th on.
#[cfg(all(feature = "test-hooks", debug_assertions))]
const CRASH_AT: &str = "KITTY_CRASH_AT";

/// The same for the guard, in the environment of its agent.
#[cfg(all(feature = "test-hooks", debug_assertions))]
const GUARD_CRASH_AT: &str = "KITTY_GUARD_CRASH_AT";

/// The variable that names guarantees to take away, comma-separated.
#[cfg(all(feature = "test-hooks", debug_assertions))]
const WITHOUT: &str = "KITTY_WITHOUT";

/// Ends or stops this process, or panics, here if [`CRASH_AT`] says so.
#[cfg(all(feature = "test-hooks", debug_assertions))]
pub fn point(name: &str) {
    use std::sync::atomic::Ordering;
    let Some(plan) = plan().filter(|plan| plan.name == name) else { return };
    let passings = plan.passings.fetch_add(1, Ordering::Relaxed) + 1;
    match plan.signal {
        None => assert!(passings < plan.at, "told to panic at {name}"),
        Some(signal) if passings == plan.at => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
            // The signal may be another thread's to take; this one must not run on meanwhile.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Some(_) => {}
    }
}

/// Whether a guarantee is taken away.
#[cfg(all(feature = "test-hooks", debug_assertions))]
pub fn without(guarantee: &str) -> bool {
    std::env::var(WITHOUT).is_ok_and(|names| names.split(',').any(|name| name == guarantee))
}

/// What the guard, which starts with an empty environment, needs to have hooks. Only the first guard of an agent
/// gets to a point: the next one is to do its work.
#[cfg(all(feature = "test-hooks", debug_assertions))]
pub fn variables() -> impl Iterator<Item = (&'static str, String)> {
    use std::sync::atomic::{AtomicBool, Ordering};
    static STARTED: AtomicBool = AtomicBool::new(false);
    let again = STARTED.swap(true, Ordering::Relaxed);
    let passed_on = [(CRASH_AT, GUARD_CRASH_AT), (WITHOUT, WITHOUT)];
    let passed_on = passed_on.into_iter().filter(move |(name, _)| !(again && *name == CRASH_AT));
    passed_on.filter_map(|(name, from)| Some((name, std::env::var(from).ok()?)))
}

#[cfg(all(feature = "test-hooks", debug_assertions))]
struct Plan {
    name: String,
    at: u32,
    /// `None`: it panics.
    signal: Option<rustix::process::Signal>,
    passings: std::sync::atomic::AtomicU32,
}

#[cfg(all(feature = "test-hooks", debug_assertions))]
fn plan() -> Option<&'static Plan> {
    use rustix::process::Signal;
    static PLAN: std::sync::LazyLock<Option<Plan>> = std::sync::LazyLock::new(|| {
        let text = std::env::var(CRASH_AT).ok()?;
        let (place, how) = text.split_once('=').unwrap_or((&text, "kill"));
        let (name, at) = place.split_once(':').unwrap_or((place, "1"));
        Some(Plan {
            name: name.to_owned(),
            at: at.parse().ok()?,
            signal: match how {
                "panic" => None,
                "stop" => Some(Signal::STOP),
                _ => Some(Signal::KILL),
            },
            passings: 0.into(),
        })
    });
    PLAN.as_ref()
}

/// Nothing, in this build.
#[cfg(not(all(feature = "test-hooks", debug_assertions)))]
pub const fn point(_: &str) {}

/// Never, in this build.
#[cfg(not(all(feature = "test-hooks", debug_assertions)))]
pub const fn without(_: &str) -> bool {
    false
}

/// None, in this build.
#[cfg(not(all(feature = "test-hooks", debug_assertions)))]
pub fn variables() -> impl Iterator<Item = (&'static str, String)> {
    std::iter::empty()
}
