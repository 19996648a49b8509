//! Experiments: methods applied to targets, each seen through until its target is well again.
//!
//! | module | job |
//! |---|---|
//! | `suite` | what a request asks for (pure) |
//! | `method` | what there is to be done: one table, and the scripts |
//! | `plan` | which target gets which method (pure) |
//! | `build` | from a suite to experiments that are recorded |
//! | `life` | the life cycle of one experiment (pure) |
//! | `entry` | one experiment that is not over, and what is seen of it |
//! | `company` | whether a target's group is as well as it was |
//! | `driver` | looks, decides, writes, and only then acts |
//! | `effect` | what is done to a target |
//! | `probe`, `watchman` | what must hold; who looks after it while a suite runs |
//! | `verdict` | what came of a suite (pure) |
//! | `history` | what was, and how experiments are listed and followed |
//! | `settings` | the numbers it all goes by |
//! | `port` | what the rest of the server does for experiments |

mod build;
mod company;
mod driver;
mod effect;
mod entry;
mod history;
mod life;
mod method;
mod plan;
mod port;
mod probe;
mod settings;
mod suite;
#[cfg(test)]
mod tests;
mod verdict;
mod watchman;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
    time::SystemTime,
};

use chaos_kitty::{
    Problem, Timestamp,
    v1::{Experiment, ExperimentMethod, Target},
};
use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    store::Store,
    task::{self, OnPanic, lock},
};
use entry::Entry;

pub use build::Automatic;
pub use method::{Automated, Method, Methods};
pub use plan::Pick;
pub use port::{Engagement, Port, Sight, Wish};
pub use settings::Settings;

/// Tells the time of day. Injected, so that a test can tell another.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// All experiments of the server.
pub struct Experiments {
    port: Arc<dyn Port>,
    store: Store,
    clock: Clock,
    settings: Settings,
    methods: Methods,
    state: Mutex<State>,
    /// One suite is built at a time.
    building: tokio::sync::Mutex<()>,
    /// Wakes the driver.
    wake: Arc<Notify>,
    driver: OnceLock<AbortHandle>,
    /// For tasks that outlive a call.
    this: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// Those that are not over, by id.
    active: BTreeMap<String, Entry>,
    /// Suites of which not all experiments are over, by their time in microseconds.
    suites: HashMap<i64, Suite>,
    /// Ids of experiments to be looked at.
    woken: BTreeSet<String>,
    /// The time of the newest suite, in microseconds.
    last_suite: i64,
    last_ended: Option<SystemTime>,
}

/// A suite of which not all experiments are over.
struct Suite {
    /// Experiments that are not over.
    left: usize,
    /// Why all of it is to end.
    abort: Option<String>,
    /// Somebody looks after its probes, and has it judged when it is over.
    watched: bool,
}

impl Experiments {
    /// Goes on with what an earlier start of the server left, and begins to drive.
    ///
    /// # Errors
    /// The store can not be read, or the settings name a method that is not there.
    pub async fn start(
        port: Arc<dyn Port>,
        store: Store,
        clock: Clock,
        settings: Settings,
    ) -> Result<Arc<Self>, Problem> {
        let methods = Methods::new(&port.scripts());
        settings.automated.check(&methods)?;
        let experiments = Arc::new_cyclic(|this| Self {
            port,
            store,
            clock,
            settings,
            methods,
            state: Mutex::default(),
            building: tokio::sync::Mutex::default(),
            wake: Arc::default(),
            driver: OnceLock::new(),
            this: this.clone(),
        });
        experiments.restore().await?;
        let events = experiments.port.events();
        let driving = driver::drive(Arc::downgrade(&experiments), experiments.wake.clone(), events);
        let _ = experiments.driver.set(task::spawn(OnPanic::Abort, driving).abort_handle());
        Ok(experiments)
    }

    /// Those that are not over, oldest first.
    pub fn active(&self) -> Vec<Experiment> {
        self.state().active.values().map(|entry| entry.experiment().clone()).collect()
    }

    /// How many are not over.
    pub fn count(&self) -> usize {
        self.state().active.len()
    }

    /// When the last one ended; `None`: none ever did.
    pub fn last_ended(&self) -> Option<SystemTime> {
        self.state().last_ended
    }

    /// The methods that there are.
    pub const fn methods(&self) -> &Methods {
        &self.methods
    }

    /// The methods as the contract writes them, of one platform or of all.
    pub fn list_methods(&self, platform_type: &str) -> Vec<ExperimentMethod> {
        let wanted = self.methods.iter().filter(|method| method.is_for(platform_type));
        wanted.map(|method| method.wire(&self.settings)).collect()
    }

    /// The methods that may be drawn for a target: it can take them, and they can work there.
    pub fn drawn_for(&self, target: &Target) -> Vec<ExperimentMethod> {
        let missing = self.port.known_missing(target);
        let may_be = |method: &&Arc<Method>| {
            method.fits(target) && self.settings.automated.draws(method) && method.works_on(target, &missing)
        };
        let wanted = self.methods.iter().filter(may_be);
        wanted.map(|method| method.wire(&self.settings)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }
}

impl Drop for Experiments {
    fn drop(&mut self) {
        // A start that ends in order has not failed to drive them.
        self.store.end_attempt();
        if let Some(task) = self.driver.get() {
            task.abort();
        }
    }
}

/// Microseconds since 1970, the key of a suite.
fn micros(at: Timestamp) -> i64 {
    at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1000)
}

/// The time of a suite of this key.
fn at(micros: i64) -> Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}
