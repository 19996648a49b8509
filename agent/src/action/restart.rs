//! Whoever runs the target ends it and starts it again. Holds nothing.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Code, Problem,
    v1::{self, RestartResult, action_result, evidence::Phase},
};
use chaos_kitty_guard::{Process, clock::boot_time, message::Reverted};
use futures_util::future::FutureExt;

use super::{Arm, Fault, Prepared, Resource, Step, evidence};
use crate::platform::{Subject, supervisor::Supervisor};

/// See the module.
pub(super) struct Restart {
    supervisor: Arc<dyn Supervisor>,
    name: String,
    main: Process,
    figures: RestartResult,
}

impl Restart {
    pub(super) fn new(subject: &Subject) -> Result<Self, Problem> {
        let main = super::main_process(subject, "restart")?;
        let figures = RestartResult { pid_before: main.pid, ..RestartResult::default() };
        let supervisor = super::supervisor(subject, "restart")?;
        Ok(Self { supervisor, name: subject.target.name.clone(), main, figures })
    }

    async fn look(&mut self) -> Result<Vec<v1::Evidence>, Problem> {
        let now = self.supervisor.look().await?;
        let Some(main) = now.main.filter(|main| *main != self.main) else {
            let what = format!("it was to be restarted and is {}", now.state);
            return Err(
                Problem::new(Code::BrokeOff, what).hint("look into its log for why it does not start")
            );
        };
        self.figures.pid_after = main.pid;
        Ok(vec![evidence(Phase::After, "state", now.state), evidence(Phase::After, "main process", main)])
    }
}

impl Fault for Restart {
    fn resource(&self) -> Option<Resource> {
        None
    }

    fn prepare(&mut self) -> Step<'_, Prepared> {
        async {
            let now = self.supervisor.look().await?;
            super::comes_back(&self.name, &now)?;
            let seen = vec![evidence(Phase::Before, "state", now.state)];
            Ok(Prepared { evidence: seen, ..Prepared::default() })
        }
        .boxed()
    }

    fn inject<'a>(&'a mut self, _: &'a dyn Arm) -> Step<'a, Duration> {
        async {
            let ordered = boot_time();
            self.supervisor.restart().await?;
            self.figures.took = Some(boot_time().saturating_sub(ordered).into());
            Ok(ordered)
        }
        .boxed()
    }

    fn verify(&mut self) -> Step<'_, Vec<v1::Evidence>> {
        self.look().boxed()
    }

    fn figures(&self) -> Option<action_result::Kind> {
        self.figures.took.is_some().then_some(action_result::Kind::Restart(self.figures))
    }

    fn settle<'a>(&'a mut self, _: &'a Reverted) -> Step<'a, Vec<v1::Evidence>> {
        async { Ok(Vec::new()) }.boxed()
    }
}
