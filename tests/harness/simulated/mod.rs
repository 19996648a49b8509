//! Stand-ins for what runs many more containers or pods than a test can start. They speak as much of an API as an agent
//! asks for; behind each container or pod is a real process in a cgroup that bears its id, since an agent believes
//! nothing else.

mod crowd;
mod engine;
mod http;
mod kubernetes;

pub use engine::Engine;
pub use kubernetes::Kubernetes;

use crowd::Crowd;
use http::{Api, Follows};

/// What a stand-in does when a test says so.
pub trait Simulated {
    /// Starts that many more, and says nothing of it until [`Self::restart_watches`].
    fn fill(&mut self, count: usize);

    /// Whether somebody is told of what happens. Else it goes unheard.
    fn is_followed(&self) -> bool;

    /// Whoever follows has to look at everything anew.
    fn restart_watches(&self);

    /// Lets one fail its own health check, and tells of it.
    fn sicken(&self, number: usize);
}
