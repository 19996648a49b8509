//! A fault's place in the journal: whatever the guard is to hold is written there first.

use chaos_kitty::{Code, Problem, v1::StartAction};
use chaos_kitty_guard::{Undo, hooks};
use futures_util::future::FutureExt;

use crate::{
    action::{Arm, Step},
    host::boot_id,
    journal::{Held, Journal},
};

/// A fault that the journal knows.
pub(super) struct Recorded {
    journal: Journal,
    held: Held,
}

impl Recorded {
    /// Returns once it is written.
    pub(super) async fn begin(
        journal: Journal,
        order: &StartAction,
        undos: Vec<Undo>,
    ) -> Result<Self, Problem> {
        let held = Held {
            id: order.action_id.clone(),
            target: order.target_id.clone(),
            action: order.action.clone(),
            boot: boot_id(),
            epoch: order.epoch,
            undos,
        };
        let recorded = Self { journal, held };
        match recorded.write(recorded.held.undos.clone()).await {
            Ok(()) => Ok(recorded),
            Err(problem) => {
                // It may be written yet, by a disk that was only slow.
                recorded.over().await;
                Err(problem)
            }
        }
    }

    /// The way to the guard, through the journal.
    pub(super) fn before<'a>(&'a self, guard: &'a dyn Arm) -> Journaled<'a> {
        Journaled { recorded: self, guard }
    }

    /// It is put back.
    pub(super) async fn over(self) {
        self.journal.over(self.held.id).await;
    }

    async fn write(&self, undos: Vec<Undo>) -> Result<(), Problem> {
        if hooks::without("journal") {
            return Ok(());
        }
        let held = Held { undos, ..self.held.clone() };
        self.journal.hold(held).await.map_err(|error| {
            Problem::new(
                Code::JournalUnavailable,
                format!("the journal can not be written, so nothing may be injected: {error}"),
            )
            .hint("make room on the disk of the agent's state folder (--state)")
        })
    }
}

/// See [`Recorded::before`].
pub(super) struct Journaled<'a> {
    recorded: &'a Recorded,
    guard: &'a dyn Arm,
}

impl Arm for Journaled<'_> {
    fn rearm(&self, undos: Vec<Undo>) -> Step<'_, ()> {
        async {
            self.recorded.write(undos.clone()).await?;
            self.guard.rearm(undos).await
        }
        .boxed()
    }
}
