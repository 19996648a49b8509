//! What is done to a target, once it is written down.

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{
        StepResult,
        run_step::{Kind, Recycle, ScriptCommand, which::Name as Which},
    },
};

use super::{
    Experiments,
    entry::Entry,
    life::{self, Effect, Fault, Remedy},
};
use crate::hooks;

impl Experiments {
    /// Has an effect, and notes what came of it.
    pub(super) async fn act(&self, id: &str, effect: Effect) {
        match effect {
            Effect::Order => self.order(id).await,
            Effect::Revert => self.revert(id).await,
            Effect::Check => self.check(id).await,
            Effect::Finalize => self.finalize(id).await,
        }
    }

    /// Heals a target; what came of it shows in its health.
    pub(super) async fn heal(&self, id: &str, remedies: Vec<Remedy>) {
        let Some(attempt) = self.look_up(id, |entry| entry.experiment().self_healing_counter) else { return };
        for remedy in remedies {
            let kind = match remedy {
                Remedy::Revert => {
                    self.revert(id).await;
                    continue;
                }
                Remedy::Command => self.look_up(id, |entry| command(entry, Which::SelfHealing)).flatten(),
                Remedy::Recycle => Some(Kind::Recycle(Recycle {})),
            };
            let Some(kind) = kind else { continue };
            if let Err(problem) = self.step(id, &format!("heal/{attempt}"), kind).await.and_then(exited_well)
            {
                tracing::warn!(experiment = id, attempt, %problem, "an attempt at self healing failed");
            }
        }
    }

    async fn order(&self, id: &str) {
        let order = self.look_up(id, |entry| {
            let experiment = entry.experiment();
            let parameters = experiment.parameters.clone().unwrap_or_default();
            (experiment.action_id.clone(), entry.target.clone(), entry.method.action(&parameters))
        });
        let Some((action_id, target, action)) = order else { return };
        hooks::point("experiment-before-order");
        let refused = self.port.order(action_id, target, action, format!("experiment {id}")).await.err();
        hooks::point("experiment-ordered");
        self.note(id, |entry| {
            // Until there is news of it.
            if refused.is_none() && entry.fault == Fault::None {
                entry.fault = Fault::Coming;
            }
            entry.refused = refused;
        });
    }

    async fn revert(&self, id: &str) {
        let Some(action_id) = self.look_up(id, |entry| entry.experiment().action_id.clone()) else { return };
        hooks::point("experiment-before-revert");
        if let Err(problem) = self.port.revert(action_id).await {
            tracing::warn!(experiment = id, %problem, "the fault is not known to be reverted");
        }
        hooks::point("experiment-reverted");
        self.note(id, |_| {});
    }

    async fn check(&self, id: &str) {
        let Some(kind) = self.look_up(id, |entry| command(entry, Which::HealthCheck)).flatten() else {
            return;
        };
        // Each look is a step of its own: an earlier answer would be of no use.
        let step = format!("check/{}", super::micros(Timestamp::from(self.now())));
        let answer = self.step(id, &step, kind).await;
        self.note(id, |entry| {
            entry.checked = match answer {
                Ok(result) => Some(result.exit_code == Some(0)),
                // It was not asked, so it said nothing.
                Err(problem) if life::is_unheard(problem.code) => None,
                Err(_) => Some(false),
            };
        });
    }

    /// The step has one name, however often it is asked for: its agent answers as it did the first time.
    async fn finalize(&self, id: &str) {
        let Some(kind) = self.look_up(id, |entry| command(entry, Which::Finalize)).flatten() else { return };
        hooks::point("experiment-before-finalize");
        let outcome = self.step(id, "finalize/1", kind).await.and_then(exited_well);
        hooks::point("experiment-finalized");
        self.note(id, |entry| entry.finalized = Some(outcome));
    }

    async fn step(&self, id: &str, name: &str, kind: Kind) -> Result<StepResult, Problem> {
        let gone = || Problem::internal("the experiment is over");
        let target = self.look_up(id, |entry| entry.target.clone()).ok_or_else(gone)?;
        let timeout = self.settings.step_timeout;
        let result = self.port.step(target, format!("{id}/{name}"), kind, timeout).await?;
        result.problem.clone().map_or(Ok(result), |problem| Err(problem.into()))
    }

    fn look_up<T>(&self, id: &str, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.state().active.get(id).map(look)
    }

    /// Something was tried; not again before the next tick, unless it has changed something.
    fn note(&self, id: &str, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.state().active.get_mut(id) {
            entry.tried = true;
            note(entry);
        }
    }
}

/// A command of the script's header.
fn command(entry: &Entry, which: Which) -> Option<Kind> {
    let script = entry.method.script.as_ref()?;
    let (hash, name) = (script.hash.clone(), entry.method.name().to_owned());
    Some(Kind::Script(ScriptCommand { hash, which: which.into(), name }))
}

/// A command that exits with another code than 0 has not done what it was to do.
fn exited_well(result: StepResult) -> Result<(), Problem> {
    match result.exit_code {
        None | Some(0) => Ok(()),
        Some(code) => {
            let message = format!("the command exited with {code}: {}", result.output.trim());
            Err(Problem::new(Code::HealingFailed, message).hint("look at the target"))
        }
    }
}
