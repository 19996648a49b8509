//! How a target is ended that something recreates: the one place where each platform says what serves it best.

use std::time::Duration;

use chaos_kitty::{Code, Problem};
use rustix::process::Signal;
use tokio::time::timeout;

use super::Subject;
use crate::host::{
    self,
    cgroup::{Cgroup, Freezer},
    process::{self, Process},
};

/// Ends a target, and returns once its main process has ended.
///
/// # Errors
/// [`Code::NotCattle`]; [`Code::TargetGone`]; [`Code::PolicyForbids`]: the agent may not signal it;
/// [`Code::NoAnswer`]: it did not end in time.
pub async fn recycle(subject: &Subject, limit: Duration) -> Result<(), Problem> {
    let target = &subject.target;
    if !target.cattle {
        let what = format!("{} was not ended: nothing recreates it", target.id);
        return Err(
            Problem::new(Code::NotCattle, what).hint("a process rule says `cattle = true` where that is so")
        );
    }
    let main = subject.main.ok_or_else(|| {
        let what = format!("{} ({}) has no process that could be ended", target.id, target.platform_type);
        Problem::new(Code::Unsupported, what)
    })?;
    kill(main)?;
    match timeout(limit, process::ended(main)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Problem::internal(format!("watching process {main}: {error}"))),
        Err(_) => Err(Problem::new(
            Code::NoAnswer,
            format!("process {main} did not end within {limit:?} of SIGKILL"),
        )
        .hint("it hangs in the kernel: look at its stack in /proc")),
    }
}

/// What stands still does not end, and leaves its children standing.
fn kill(main: Process) -> Result<(), Problem> {
    let unseen = |error| host::unseen(format_args!("looking at process {main}'s tree"), error);
    let tree = process::tree(main).map_err(unseen)?;
    if let Some(cgroup) = Cgroup::owned_by(&tree).map_err(unseen)?
        && cgroup.freezer().is_ok_and(|freezer| freezer != Freezer::Thawed)
    {
        cgroup.thaw().step().map_err(|error| {
            Problem::internal(format!("thawing {} before the kill: {error}", cgroup.folder.display()))
        })?;
    }
    let killed = main.signal(Signal::KILL).map_err(|error| {
        Problem::new(Code::PolicyForbids, format!("sending KILL to process {main}: {error}"))
            .hint("run the agent as a user that may signal the target")
    })?;
    for process in &tree {
        // Those that are not ours to signal are not ours to continue.
        let _ = process.signal(Signal::CONT);
    }
    if killed { Ok(()) } else { Err(Problem::new(Code::TargetGone, format!("process {main} has ended"))) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use chaos_kitty::v1::Target;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn subject(pid: u32, cattle: bool) -> Subject {
        Subject {
            target: Target { cattle, ..Target::default() },
            main: Process::now(pid),
            ..Subject::default()
        }
    }

    #[tokio::test]
    async fn cattle_is_ended_also_where_it_stands_still_and_a_pet_is_not() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pet = subject(child.id(), false);
        assert_eq!(recycle(&pet, LIMIT).await.unwrap_err().code, Code::NotCattle);
        assert!(!pet.main.unwrap().has_ended());
        let cattle = subject(child.id(), true);
        cattle.main.unwrap().signal(Signal::STOP).unwrap();
        recycle(&cattle, LIMIT).await.unwrap();
        assert!(cattle.main.unwrap().has_ended());
        child.wait().unwrap();
        assert_eq!(recycle(&cattle, LIMIT).await.unwrap_err().code, Code::TargetGone);
    }

    #[tokio::test]
    async fn what_has_no_process_is_not_recycled() {
        let host = Subject { target: Target { cattle: true, ..Target::default() }, ..Subject::default() };
        assert_eq!(recycle(&host, LIMIT).await.unwrap_err().code, Code::Unsupported);
    }
}
