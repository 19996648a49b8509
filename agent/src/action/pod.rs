//! A pod is deleted or evicted through the API, and its owner makes another. Holds nothing.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    signal::Signal,
    v1::{self, KillResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{clock::boot_time, message::Reverted};
use futures_util::future::FutureExt;

use super::{Arm, Fault, Prepared, Resource, Step, evidence};
use crate::platform::kubernetes::handle::PodHandle;

/// How long it is looked whether the pod goes. With a grace period of its own it may stay longer, and is on its way.
const LOOK: Duration = Duration::from_secs(1);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// By which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Without grace.
    Delete,
    /// With the pod's own grace period.
    DeleteWithGrace,
    Evict,
}

/// See the module.
pub(super) struct RemovePod {
    pod: Arc<PodHandle>,
    means: Means,
    pids: Vec<u32>,
    ended: bool,
}

impl RemovePod {
    pub(super) fn new(order: &v1::Kill, pod: Arc<PodHandle>, pids: Vec<u32>) -> Result<Self, Problem> {
        Ok(Self { pod, means: means(order)?, pids, ended: false })
    }

    async fn look(&mut self) -> Result<Vec<v1::Evidence>, Problem> {
        let until = boot_time() + LOOK;
        loop {
            let now = self.pod.look().await?;
            self.ended = now.is_none();
            match now {
                Some(_) if boot_time() < until => tokio::time::sleep(LOOK_AGAIN).await,
                now => {
                    return Ok(vec![evidence(Phase::After, "pod", now.unwrap_or_else(|| "gone".to_owned()))]);
                }
            }
        }
    }
}

fn means(order: &v1::Kill) -> Result<Means, Problem> {
    if order.tree {
        return Err(Problem::invalid("action.kill.tree", "a pod goes with all that is in it")
            .hint("leave tree out, or through_runtime and evict"));
    }
    if order.evict {
        return Ok(Means::Evict);
    }
    match Signal::parse("action.kill.signal", &order.signal)?.name {
        "KILL" => Ok(Means::Delete),
        "TERM" => Ok(Means::DeleteWithGrace),
        other => Err(Problem::invalid(
            "action.kill.signal",
            format_args!("a pod can not be deleted by {other}"),
        )
        .hint(
            "TERM deletes it with its own grace period, KILL with none; leave through_runtime out for others",
        )),
    }
}

impl Fault for RemovePod {
    fn resource(&self) -> Option<Resource> {
        None
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        async {
            self.pod.can_be_removed()?;
            let state = self.pod.look().await?.unwrap_or_else(|| "gone".to_owned());
            let evidence = vec![evidence(Phase::Before, "pod", state)];
            Ok(Prepared { evidence, ..Prepared::default() })
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, _: &'a dyn Arm) -> Step<'a, Duration> {
        async {
            let at = boot_time();
            match self.means {
                Means::Delete => self.pod.delete(true).await?,
                Means::DeleteWithGrace => self.pod.delete(false).await?,
                Means::Evict => self.pod.evict().await?,
            }
            Ok(at)
        }
        .boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        self.look().boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        let signal = match self.means {
            Means::Delete => "KILL",
            Means::DeleteWithGrace | Means::Evict => "TERM",
        };
        let (pids, ended) = (self.pids.clone(), self.ended);
        Some(action_result::Kind::Kill(KillResult { signal: signal.to_owned(), pids, ended }))
    }

    fn settle<'a>(&'a mut self, _: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::Code;

    use super::*;

    #[test]
    fn a_pod_goes_with_grace_by_term_without_by_kill_and_by_no_other_signal() {
        let by = |signal: &str| means(&v1::Kill { signal: signal.to_owned(), ..v1::Kill::default() });
        assert_eq!(by(""), Ok(Means::DeleteWithGrace));
        assert_eq!(by("SIGKILL"), Ok(Means::Delete));
        assert_eq!(by("HUP").unwrap_err().code, Code::InvalidArgument);
        assert_eq!(means(&v1::Kill { evict: true, ..v1::Kill::default() }), Ok(Means::Evict));
        let tree = v1::Kill { evict: true, tree: true, ..v1::Kill::default() };
        assert_eq!(means(&tree).unwrap_err().code, Code::InvalidArgument);
    }
}
