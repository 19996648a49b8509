//! What the schedule needs from the rest of the server.

use std::{sync::Arc, time::SystemTime};

use chaos_kitty::{
    Problem,
    v1::{BuildExperimentResponse, ExperimentMethod, Target},
};
use futures_util::future::BoxFuture;

/// What experiments do at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// At least one is not over.
    pub running: bool,
    /// When the last one was over.
    pub ended: Option<SystemTime>,
}

/// Experiments that were drawn: a suite, and the targets that its methods are for.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The platform of all targets.
    pub platform_type: String,
    /// What they were drawn with.
    pub seed: u64,
    /// At most one method for each target.
    pub picks: Vec<Pick>,
}

/// A method for a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Whom it is for.
    pub target: Arc<Target>,
    /// The method's name.
    pub method: String,
}

/// What the fleet and the experiments do for the schedule.
pub trait Port: Send + Sync + 'static {
    /// The kinds of targets that can be hit, ordered.
    fn platforms(&self) -> Vec<String>;

    /// All targets of a platform, well or not.
    fn roster(&self, platform_type: &str) -> Vec<Arc<Target>>;

    /// Whether each of these is well and not hurt.
    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool>;

    /// The methods that may be drawn for the target: it can take them, and they can work there.
    fn methods(&self, target: &Target) -> Vec<ExperimentMethod>;

    /// What experiments do.
    fn activity(&self) -> Activity;

    /// Whether the administrative state admits new experiments.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::Halted`], [`chaos_kitty::Code::NotAdmitted`].
    fn admits(&self) -> Result<(), Problem>;

    /// A target by its id, by its unique name, or by its number.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::NoSuchTarget`] and the like.
    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem>;

    /// Makes the experiments, all of them or none.
    fn start(&self, drawn: Drawn) -> BoxFuture<'static, Result<BuildExperimentResponse, Problem>>;
}
