//! Where a cgroup of our own making has its place, for what is ended as a whole.

use chaos_kitty::{Code, Problem};
use chaos_kitty_guard::Process;

use crate::host::{
    self,
    cgroup::{self, Cgroup},
};

/// Where [`cgroup::room_below`] finds room.
///
/// # Errors
/// [`Code::TargetGone`]. [`Code::Unsupported`]: none is writable.
pub(crate) fn below(target: Option<Process>) -> Result<Cgroup, Problem> {
    let room =
        cgroup::room_below(target).map_err(|error| host::unseen("the cgroups of the target", error))?;
    room.ok_or_else(|| {
        Problem::new(Code::Unsupported, "no cgroup of the target is writable, so a script could not be ended")
            .hint("run the agent as root, or with Delegate=yes for its own host's scripts")
    })
}
