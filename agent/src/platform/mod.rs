//! Where: the kinds of targets that this host offers.

use chaos_kitty::v1;
use chaos_kitty_guard::Process;

/// A target as actions see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// What the server is told of it, with the actions that its platform offers.
    pub target: v1::Target,
    /// Its main process. `None` for a host.
    pub main: Option<Process>,
}
