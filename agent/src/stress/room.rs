//! Where a cgroup of our own making has its place, for what is ended as a whole.

use chaos_kitty::{Code, Problem};
use chaos_kitty_guard::{CgroupVersion, Process};

use crate::host::{
    cgroup::Cgroup,
    membership::{self, Membership},
};

/// The cgroup below which one is made for what runs on a target (`None`: on the host). Version 2 can end a cgroup in
/// one step, so it comes first: below the target's, whose limits then count, or beside the agent's for a host. The
/// freezer of version 1 can do it in three; it sets no limits, and is below the agent's own, since a pause of the
/// target would keep from ending what is below the target's.
///
/// # Errors
/// [`Code::TargetGone`]. [`Code::Unsupported`]: none is writable.
pub(crate) fn below(target: Option<Process>) -> Result<Cgroup, Problem> {
    let agent = std::process::id();
    let pid = target.map_or(agent, |target| target.pid);
    let of = |pid| {
        membership::of(pid)
            .map_err(|error| Problem::new(Code::TargetGone, format!("the cgroups of process {pid}: {error}")))
    };
    let beside = |membership: &Membership| match membership.folder.parent() {
        Some(above) if target.is_none() && above.starts_with(&membership.root) => above.to_owned(),
        _ => membership.folder.clone(),
    };
    let theirs = of(pid)?.into_iter().filter(|one| one.version == CgroupVersion::V2);
    let theirs = theirs.map(|one| Cgroup { folder: beside(&one), version: one.version });
    let ours =
        of(agent)?.into_iter().filter(|one| one.version == CgroupVersion::V1 && one.controls("freezer"));
    let ours = ours.map(|one| Cgroup { folder: one.folder, version: one.version });
    let writable = |place: &Cgroup| rustix::fs::access(&place.folder, rustix::fs::Access::WRITE_OK).is_ok();
    theirs.chain(ours).find(writable).ok_or_else(|| {
        Problem::new(Code::Unsupported, "no cgroup of the target is writable, so a script could not be ended")
            .hint("run the agent as root, or with Delegate=yes for its own host's scripts")
    })
}
