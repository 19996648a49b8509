//! Steps of experiments: they hold nothing, run once, and are remembered.

mod memory;
mod run;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chaos_kitty::{
    Code, Problem,
    v1::{RunStep, StepResult, run_step},
};
use tokio::sync::mpsc;

use super::Executor;
use memory::Memory;

/// Steps at a time.
const RUNNING: usize = 64;

/// Streams that may wait for one step.
const WAITING: usize = 16;

/// Where the answers to a stream's steps go.
pub(crate) type Answers = mpsc::Sender<StepResult>;

/// What is known of steps.
pub(super) struct Steps {
    memory: Mutex<Memory>,
    /// Who waits for those that run.
    running: Mutex<HashMap<String, Vec<Answers>>>,
}

/// How a step stands.
enum Standing {
    New,
    /// It is answered at its end.
    Running,
    Over(StepResult),
}

impl Steps {
    pub(super) fn open(path: PathBuf) -> Self {
        Self { memory: Mutex::new(Memory::open(path)), running: Mutex::default() }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Vec<Answers>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a step stands that is asked for: one that is new counts as running from now on.
    fn stand(&self, id: &str, answers: &Answers) -> Standing {
        let mut running = self.running();
        if let Some(waiting) = running.get_mut(id) {
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.len() == WAITING {
                let what = format!("{WAITING} others wait for step {id}");
                return Standing::Over(failed(id, too_many(what)));
            }
            waiting.push(answers.clone());
            return Standing::Running;
        }
        if let Some(step) = self.memory().get(id) {
            return Standing::Over(step.result.clone().unwrap_or_else(|| failed(id, unknown(id))));
        }
        if running.len() == RUNNING {
            let what = format!("{RUNNING} steps run on this host, which is its limit");
            return Standing::Over(failed(id, too_many(what)));
        }
        running.insert(id.to_owned(), vec![answers.clone()]);
        Standing::New
    }

    /// It is over: remembered, and told to all who wait. Blocks.
    fn over(&self, result: &StepResult) {
        if let Err(error) = self.memory().end(result) {
            tracing::warn!(step = result.step_id, %error, "what came of a step is kept in memory alone");
        }
        for waiting in self.running().remove(&result.step_id).unwrap_or_default() {
            tell(&waiting, result.clone());
        }
    }
}

impl Executor {
    /// Runs a step, unless it was begun before; what came of it goes to `answers`. Never blocks. Whether the order is
    /// fresh is the uplink's to check.
    pub fn step(&self, order: RunStep, answers: Answers) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let id = order.step_id.clone();
            match shared.steps.stand(&id, &answers) {
                Standing::Over(result) => return tell(&answers, result),
                Standing::Running => return,
                Standing::New => {}
            }
            let begun = Self::begin(&shared, &order).await;
            let result = match begun {
                Ok(()) => run::run(&shared, &order).await,
                Err(problem) => Err(problem),
            };
            let result = result.unwrap_or_else(|problem| failed(&id, problem));
            tracing::info!(step = id, target = order.target_id, problem = ?result.problem, "a step is over");
            let over = tokio::task::spawn_blocking(move || shared.steps.over(&result));
            if let Err(error) = over.await {
                tracing::error!(%error, "a step was not answered");
            }
        });
    }

    /// Written down before it is begun. A look at the target's health may be taken without.
    async fn begin(shared: &Arc<super::Shared>, order: &RunStep) -> Result<(), Problem> {
        let (writing, id) = (Arc::clone(shared), order.step_id.clone());
        let written = tokio::task::spawn_blocking(move || writing.steps.memory().begin(&id)).await;
        match written.unwrap_or_else(|error| Err(error.into())) {
            Err(error) if !looks_only(order) => Err(Problem::new(
                Code::JournalUnavailable,
                format!("step {} can not be written down, so it was not begun: {error}", order.step_id),
            )
            .hint("make room on the disk of the agent's state folder (--state)")),
            _ => Ok(()),
        }
    }
}

fn looks_only(order: &RunStep) -> bool {
    use run_step::{Kind, which::Name as Which};
    matches!(&order.kind, Some(Kind::Script(command)) if command.which() == Which::HealthCheck)
}

fn tell(answers: &Answers, result: StepResult) {
    let id = result.step_id.clone();
    if let Err(error) = answers.try_send(result) {
        // Whoever asks again, by a new stream, is told from memory.
        tracing::debug!(step = id, %error, "the answer to a step was not taken");
    }
}

/// The answer to a step that was not, or not wholly, carried out.
pub(crate) fn failed(id: &str, problem: Problem) -> StepResult {
    StepResult { step_id: id.to_owned(), problem: Some(problem.into()), ..StepResult::default() }
}

fn unknown(id: &str) -> Problem {
    let what =
        format!("step {id} was begun by an earlier run of this agent, and what came of it is not known");
    Problem::new(Code::OutcomeUnknown, what)
        .hint("look at the target before the step is repeated under a new id")
}

fn too_many(what: String) -> Problem {
    Problem::new(Code::LimitReached, what).hint("wait until some are over")
}
