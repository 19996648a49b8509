//! Whoever runs the target ends it; the undo starts it again.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, StopResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Process, clock::boot_time, message::Reverted};
use futures_util::future::FutureExt;

use super::{
    Arm, Fault, Prepared, Resource, Step, evidence,
    watch::{SELDOM, Seen, Watch},
};
use crate::platform::{
    Subject,
    supervisor::{Standing, Stopping, Supervisor},
};

/// How long it is looked whether the target runs again, after it was ordered to start.
const PATIENCE: Duration = Duration::from_secs(25);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Stop {
    supervisor: Arc<dyn Supervisor>,
    name: String,
    main: Process,
    /// What ends along with it.
    along: Vec<String>,
    kill: bool,
    in_force: Duration,
    watch: Watch,
    figures: StopResult,
}

impl Stop {
    pub(super) fn new(order: v1::Stop, subject: &Subject) -> Result<Self, Problem> {
        let main = super::main_process(subject, "stop")?;
        let figures = StopResult { pid_before: main.pid, ..StopResult::default() };
        let supervisor = super::supervisor(subject, "stop")?;
        let (in_force, watch) = (Duration::ZERO, Watch::every(SELDOM));
        let name = subject.target.name.clone();
        Ok(Self { supervisor, name, main, along: Vec::new(), kill: order.kill, in_force, watch, figures })
    }

    /// Once there is an answer, whatever it is, the target is not being stopped any more.
    async fn stop(&mut self, arm: &dyn Arm) -> Result<Duration, Problem> {
        let ordered = boot_time();
        let stopped = self.supervisor.stop(self.kill).await;
        self.in_force = boot_time();
        match &stopped {
            Err(problem) if problem.code == Code::NoAnswer => {}
            // What it was not allowed to do it did not do, and it would not be allowed to undo it either.
            Err(problem) if problem.code == Code::PolicyForbids && self.is_untouched().await => {
                arm.rearm(Vec::new()).await?;
            }
            _ => arm.rearm(vec![self.supervisor.undo_stop(Stopping::Over, &self.along)?]).await?,
        }
        stopped?;
        self.figures.took = Some(self.in_force.saturating_sub(ordered).into());
        Ok(self.in_force)
    }

    async fn is_untouched(&self) -> bool {
        self.supervisor.look().await.is_ok_and(|now| now.main == Some(self.main))
    }

    async fn stopped(&self) -> Result<Vec<v1::Evidence>, Problem> {
        let now = self.supervisor.look().await?;
        match now.main {
            None => Ok(vec![evidence(Phase::During, "state", now.state)]),
            Some(main) => {
                let what = format!("it was stopped and is {} as process {main}", now.state);
                Err(Problem::new(Code::BrokeOff, what)
                    .hint("something starts it at once, e.g. a socket unit or an orchestrator"))
            }
        }
    }

    /// Whether nobody else has started or removed it.
    async fn goes_on(&self) -> Seen {
        match self.supervisor.look().await {
            Ok(Standing { main: None, .. }) => Seen::InForce,
            Ok(Standing { main: Some(main), state, .. }) => {
                let held = boot_time().saturating_sub(self.in_force);
                let what = format!("it was stopped, and after {held:.1?} it is {state} as process {main}");
                Seen::Lost(
                    Problem::new(Code::EffectLost, what)
                        .hint("somebody else started it: a person, a socket unit, an orchestrator"),
                )
            }
            Err(problem) if problem.code == Code::TargetGone => {
                let what = format!("{} was stopped, and somebody removed it meanwhile", self.name);
                Seen::Lost(Problem::new(Code::TargetGone, what))
            }
            Err(_) => Seen::Nothing,
        }
    }

    /// `None`: it was removed meanwhile, and there is nothing to start.
    async fn runs_again(&self) -> Result<Option<(Standing, Process)>, Problem> {
        let until = boot_time() + PATIENCE;
        loop {
            let now = match self.supervisor.look().await {
                Err(problem) if problem.code == Code::TargetGone => return Ok(None),
                now => now?,
            };
            match now.main {
                Some(main) => return Ok(Some((now, main))),
                None if boot_time() < until => tokio::time::sleep(LOOK_AGAIN).await,
                None => {
                    let what = format!("it was told to start and is {}", now.state);
                    let command = self.supervisor.undo_stop(Stopping::Over, &self.along)?;
                    return Err(Problem::new(Code::Stuck, what).hint(format!("run on the host: {command}")));
                }
            }
        }
    }
}

impl Fault for Stop {
    fn resource(&self) -> Option<Resource> {
        Some(Resource::RunState)
    }

    fn ends_its_target(&self) -> bool {
        true
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        async {
            let now = self.supervisor.look().await?;
            if now.main != Some(self.main) {
                let what = format!("process {} is not its main process any more", self.main);
                return Err(Problem::new(Code::Recycled, what));
            }
            super::comes_back(&self.name, &now)?;
            let undos = vec![self.supervisor.undo_stop(Stopping::UnderWay, &now.along)?];
            let mut seen = vec![evidence(Phase::Before, "state", now.state)];
            if !now.along.is_empty() {
                seen.push(evidence(Phase::Before, "ends along with it", now.along.join(", ")));
            }
            self.along = now.along;
            Ok(Prepared { undos, evidence: seen, ..Prepared::default() })
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, arm: &'a dyn Arm) -> Step<'a, Duration> {
        self.stop(arm).boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        self.stopped().boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.took.is_some().then_some(action_result::Kind::Stop(self.figures))
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
        async {
            let runs = self.runs_again().await?;
            self.figures.held = Some(self.watch.until(reverted).saturating_sub(self.in_force).into());
            let Some((now, main)) = runs else {
                return Ok(vec![evidence(Phase::After, "state", "it was removed")]);
            };
            self.figures.pid_after = main.pid;
            Ok(vec![evidence(Phase::After, "state", now.state), evidence(Phase::After, "main process", main)])
        }
        .boxed()
    }
}
