//! Whoever makes the target, a pod, keeps fewer of them; the undo gives it back at least as many as it had.

use std::time::Duration;

use chaos_kitty::{
    Code, Problem,
    v1::{self, ScaleResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{clock::boot_time, message::Reverted};
use futures_util::future::FutureExt;

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence, out_of_order, unsupported,
    watch::{SELDOM, Seen, Watch},
};
use crate::platform::{
    Subject,
    kubernetes::workload::{Size, Workload},
};

/// How long it is waited until all pods that are too many are gone: longer than what a pod has of its own to end in
/// order. After that it is enough that some are: a StatefulSet ends one after the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a look may take while the API server does not answer.
const LOOK: Duration = Duration::from_secs(5);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Scale {
    workload: Workload,
    replicas: u32,
    before: Option<Size>,
    /// When it was ordered.
    ordered: Duration,
    watch: Watch,
    figures: ScaleResult,
}

impl Scale {
    pub(super) fn new(order: v1::ScaleDown, subject: &Subject) -> Result<Self, Problem> {
        let workload = subject.pod.as_ref().and_then(|pod| pod.workload()).ok_or_else(|| {
            unsupported(subject, "a scale-down")
                .hint("only a Deployment, StatefulSet or ReplicaSet has a number of replicas")
        })?;
        let figures = ScaleResult::default();
        let (ordered, watch) = (Duration::ZERO, Watch::every(SELDOM));
        Ok(Self { workload, replicas: order.replicas, before: None, ordered, watch, figures })
    }

    async fn look_before(&mut self) -> Result<Prepared, Problem> {
        let workload = &self.workload;
        let size = workload.size().await?;
        if size.wanted <= self.replicas {
            let what = format!("{workload} has {} replicas: there is nothing to take", size.wanted);
            return Err(Problem::new(Code::AlreadyInState, what).hint("ask for fewer replicas than it has"));
        }
        let undos = vec![workload.undo(&size)?];
        let seen = vec![evidence(Phase::Before, "replicas", &size)];
        self.figures =
            ScaleResult { owner: workload.to_string(), before: size.wanted, ..ScaleResult::default() };
        self.before = Some(size);
        Ok(Prepared { undos, evidence: seen, ..Prepared::default() })
    }

    async fn scale(&mut self, arm: &dyn Arm) -> Result<Duration, Problem> {
        let before = self.before.as_ref().ok_or_else(out_of_order)?;
        self.ordered = boot_time();
        if let Err(problem) = self.workload.shrink(before, self.replicas).await {
            let untouched = problem.code != Code::NoAnswer && self.is_untouched(before).await;
            if untouched {
                arm.rearm(Vec::new()).await?;
            }
            return Err(problem);
        }
        self.shrink(before.present).await?;
        let now = boot_time();
        self.figures.took = Some(now.saturating_sub(self.ordered).into());
        Ok(now)
    }

    /// What was refused (no right to patch) needs no undo, which would be refused as well.
    async fn is_untouched(&self, before: &Size) -> bool {
        let size = self.workload.size().await;
        size.is_ok_and(|size| (&size.uid, size.wanted) == (&before.uid, before.wanted))
    }

    /// How large it is. An API server that does not answer may be back soon.
    async fn size(&self, until: Duration) -> Result<Size, Problem> {
        loop {
            match self.workload.size().await {
                Err(problem) if problem.code == Code::NoAnswer && boot_time() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn shrink(&self, before: u32) -> Result<(), Problem> {
        let until = boot_time() + PATIENCE;
        loop {
            let size = self.size(until).await?;
            let is_late = boot_time() > until;
            if size.present <= self.replicas || is_late && size.present < before {
                return Ok(());
            }
            let hint = match size.wanted > self.replicas {
                true => "something else scales it, e.g. an autoscaler",
                false if is_late => "look whether its controller runs",
                false => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            let what = format!("it was scaled to {}, and has {size}", self.replicas);
            return Err(Problem::new(Code::BrokeOff, what).hint(hint));
        }
    }

    async fn shrunk(&mut self) -> Result<Vec<v1::Evidence>, Problem> {
        let size = self.size(boot_time() + LOOK).await?;
        self.figures.during = size.present;
        Ok(vec![evidence(Phase::During, "replicas", size)])
    }

    /// Whether nobody else has scaled or removed it.
    async fn goes_on(&self) -> Seen {
        match self.workload.size().await {
            Ok(size) if size.wanted <= self.replicas => Seen::InForce,
            Ok(size) => {
                let what = format!("it was scaled to {}, and has {size} now", self.replicas);
                Seen::Lost(
                    Problem::new(Code::EffectLost, what)
                        .hint("something else scales it, e.g. an autoscaler, an operator, a deployment tool"),
                )
            }
            Err(problem) if problem.code == Code::TargetGone => {
                let what = format!("{} was scaled down, and somebody removed it meanwhile", self.workload);
                Seen::Lost(Problem::new(Code::TargetGone, what))
            }
            Err(_) => Seen::Nothing,
        }
    }

    /// That it is to have as many again is what is put back here: how soon they are there is its controller's.
    async fn restored(&mut self, reverted: &Reverted) -> Result<Vec<v1::Evidence>, Problem> {
        self.figures.held = Some(self.watch.until(reverted).saturating_sub(self.ordered).into());
        let before = self.before.as_ref().ok_or_else(out_of_order)?;
        let workload = &self.workload;
        let size = match self.size(boot_time() + LOOK).await {
            Err(problem) if problem.code == Code::TargetGone => {
                return Ok(vec![evidence(Phase::After, "replicas", "it is gone")]);
            }
            size => size?,
        };
        if size.uid == before.uid && size.wanted < before.wanted {
            let what = format!("{workload} had {} replicas and has {size}", before.wanted);
            return Err(Problem::new(Code::Stuck, what).hint(format!("run: {}", workload.undo(before)?)));
        }
        Ok(vec![evidence(Phase::After, "replicas", size)])
    }
}

impl Fault for Scale {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::Replicas)
    }

    fn ends_its_target(&self) -> bool {
        true
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        self.look_before().boxed()
    }

    fn inject<'a>(&'a mut self, arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.scale(arm).boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        self.shrunk().boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.took.is_some().then(|| action_result::Kind::Scale(self.figures.clone()))
    }

    fn over(&mut self) -> Step<'_, ()> {
        async {
            loop {
                let looked = boot_time();
                let seen = self.goes_on().await;
                let pause = self.watch.saw(looked, seen)?;
                tokio::time::sleep(pause).await;
            }
        }
        .boxed()
    }

    fn settle<'a>(&'a mut self, reverted: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        self.restored(reverted).boxed()
    }
}
