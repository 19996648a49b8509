//! What an earlier agent and its guard left: it is put back before anything is admitted, and what can not be is
//! reported as STUCK.

use std::{path::Path, time::Duration};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{self, ActionReport, action_state::Name as State},
};

use uuid::Uuid;

use super::{Executor, Settings};
use crate::{
    host::boot_id,
    journal::{
        Held, Journal,
        folder::{self, Records, Trouble},
        replay::{Replayed, replay},
    },
};

/// Pause before a journal that can not be used is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What a person runs on the host when something is left.
const REVERT: &str = "kitty-agent revert --all";

/// Puts back what was left, and records what could not be: that stays in the journal. What the guard has `put_back`
/// already is left alone: it may be somebody else's doing by now. Blocks. For whoever holds the lock on the state
/// folder.
///
/// # Errors
/// Nothing was put back: see [`Trouble`]. What is put back while the journal can not be written is put back
/// again next time, which does no harm.
pub(crate) fn revert(
    journal: &Path,
    put_back: &[String],
    only: Option<&str>,
) -> Result<(Vec<Replayed>, Vec<Held>), Trouble> {
    let mut left = folder::look(journal)?;
    left.retain(|held| !put_back.contains(&held.id));
    let (wanted, mut left): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|held| only.is_none_or(|id| held.id == id));
    let replayed = replay(wanted, &boot_id());
    left.extend(replayed.iter().filter(|one| one.is_stuck()).map(|one| one.held.clone()));
    Ok((replayed, left))
}

/// Opens the journal for what is to come; `left` is still in force.
///
/// # Errors
/// It can not be written.
pub(crate) fn begin(journal: &Path, left: Vec<Held>) -> Result<Records, Trouble> {
    Records::begin(journal, left).map_err(|error| Trouble::Unavailable { path: journal.to_owned(), error })
}

impl Executor {
    /// Returns once its guard is there, without which it admits nothing.
    pub async fn guarded(&self) {
        self.shared.link.up().await;
    }

    /// Puts back what an earlier agent and its guard left, and then admits. Returns after the first try; a
    /// journal that can not be used is tried again in a while, one that is damaged waits for a person.
    pub async fn recover(&self) {
        while let Err(trouble) = self.try_to_recover().await {
            tracing::error!(%trouble, "nothing is admitted");
            let damaged = matches!(trouble, Trouble::Damaged { .. });
            self.refuse_all(trouble);
            if damaged {
                return;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_to_recover(&self) -> Result<(), Trouble> {
        let Settings { journal: folder, put_back, .. } = self.shared.settings.clone();
        let path = folder.clone();
        let recovered = tokio::task::spawn_blocking(move || {
            let (replayed, left) = revert(&folder, &put_back, None)?;
            let records = begin(&folder, left)?;
            let journal = Journal::start(records)
                .map_err(|error| Trouble::Unavailable { path: folder.clone(), error })?;
            Ok((replayed, journal))
        });
        let (replayed, journal) = recovered
            .await
            .unwrap_or_else(|error| Err(Trouble::Unavailable { path, error: error.into() }))?;
        for one in &replayed {
            tracing::warn!(
                action = one.held.id,
                target = one.held.target,
                stuck = one.is_stuck(),
                "put back what was left"
            );
        }
        let mut state = self.shared.state();
        state.stuck = replayed.iter().filter(|one| one.is_stuck()).map(stuck).collect();
        state.journal = Ok(journal);
        Ok(())
    }

    fn refuse_all(&self, trouble: Trouble) {
        let problem = problem(&trouble);
        let mut state = self.shared.state();
        if let Trouble::Damaged { known, .. } = &trouble {
            state.stuck = known.iter().map(|held| of_damaged(held, &problem)).collect();
            if known.is_empty() {
                state.stuck = vec![unnamed(&problem)];
            }
        }
        state.journal = Err(problem);
    }
}

/// Why nothing is admitted before the journal was read.
pub(super) fn not_yet() -> Problem {
    Problem::new(
        Code::JournalUnavailable,
        "what was left from before the agent's start is being put back first",
    )
    .hint("try again in a moment")
}

fn problem(trouble: &Trouble) -> Problem {
    let problem = Problem::new(Code::JournalUnavailable, format!("nothing may be injected: {trouble}"));
    problem.hint(match trouble {
        Trouble::Unavailable { .. } => "make the agent's state folder (--state) readable and writable for it",
        Trouble::Damaged { .. } => {
            "look for what is left on the host; then stop the agent, run there kitty-agent revert --clear, and \
             start it again"
        }
    })
}

/// What could not be put back.
fn stuck(replayed: &Replayed) -> ActionReport {
    let failures: Vec<_> = replayed.failures().collect();
    let why = failures.first().and_then(|first| first.failure.as_deref()).unwrap_or_default();
    let commands: Vec<_> = failures.iter().map(|failure| failure.command.as_str()).collect();
    let problem = Problem::new(
        Code::Stuck,
        format!("it was left by an earlier agent and could not be put back: {why}"),
    )
    .hint(format!("run on the host: {}; or, with the agent stopped, {REVERT}", commands.join("; ")));
    report(&replayed.held, problem)
}

/// What a damaged journal tells of, true or not.
fn of_damaged(held: &Held, problem: &Problem) -> ActionReport {
    let problem = Problem::new(Code::Stuck, problem.message.clone()).hint(format!(
        "if it is still in force, run on the host: {}; then stop the agent, run kitty-agent revert --clear, and start it again",
        held.commands()
    ));
    report(held, problem)
}

/// Of a damaged journal that names nothing any more: somebody must look all the same.
fn unnamed(problem: &Problem) -> ActionReport {
    ActionReport {
        action_id: Uuid::now_v7().to_string(),
        target_id: "journal".to_owned(),
        state: State::Stuck.into(),
        problem: Some(Problem { code: Code::Stuck, ..problem.clone() }.into()),
        at: Some(Timestamp::now()),
        ..ActionReport::default()
    }
}

fn report(held: &Held, problem: Problem) -> ActionReport {
    ActionReport {
        action_id: held.id.clone(),
        target_id: held.target.clone(),
        state: State::Stuck.into(),
        problem: Some(v1::Problem::from(problem)),
        at: Some(Timestamp::now()),
        action: held.action.clone(),
        ..ActionReport::default()
    }
}
