//! Actions: what was asked for, what was ordered, what became of it.
//!
//! | module | job |
//! |---|---|
//! | `validate` | what a request may ask for (pure) |
//! | `choose` | which targets of a selection are hit (pure) |
//! | `missing` | programs that scripts did not find |
//! | `script` | the collection of scripts |
//! | `intake` | what is kept of a node's report (pure) |
//! | `unleash` | from a request to orders |
//! | `record` | what becomes of an action as reports come in (pure) |
//! | `book` | all actions |
//! | `news` | what nodes report, and what is known when they leave and come back |
//! | `settle` | actions that nothing is heard of |
//! | `stop` | ending one, or all of them |
//! | `invoke` | calls that come by a node's stream |

mod book;
mod choose;
mod intake;
mod invoke;
mod missing;
mod news;
mod record;
mod script;
mod settle;
mod stop;
mod unleash;
mod validate;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use chaos_kitty::{
    Problem,
    page::{self, Page},
    v1::{ActionStatus, ListActionsRequest, Target, action_state::Name as State},
};
use tokio::time::Instant;

use crate::{
    event::Bus,
    fleet::{Fleet, is_over},
    safety::Gate,
    store::{Kind, Store, Unfinished},
    task,
};
use book::{Book, Entry};
use missing::Missing;

pub use script::{Script, Scripts};
pub use stop::HaltUpdates;
pub use unleash::Updates;

/// Longest duration of a fault unless configured otherwise.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// Actions of earlier starts that are looked at for what they say of groups and targets.
const REMEMBERED: u32 = 10_000;

/// See the module.
pub struct Actions {
    fleet: Arc<Fleet>,
    gate: Arc<Gate>,
    store: Store,
    bus: Arc<Bus>,
    book: Book,
    longest: Duration,
    scripts: Arc<Scripts>,
    missing: Missing,
    /// For tasks that outlive a call.
    this: Weak<Self>,
}

impl Actions {
    /// Actions on a fleet, through its gate; `longest` is the longest duration of a fault, `scripts` are those there are.
    pub fn new(
        fleet: Arc<Fleet>,
        gate: Arc<Gate>,
        store: Store,
        bus: Arc<Bus>,
        longest: Duration,
        scripts: Arc<Scripts>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            fleet,
            gate,
            book: Book::new(store.clone(), bus.clone()),
            store,
            bus,
            longest,
            scripts,
            missing: Missing::default(),
            this: this.clone(),
        })
    }

    /// Takes in what an earlier start of the server left unfinished: nothing is known of it until its agents
    /// are back, and one lease from now it is over in any case. Groups are as large as they were, and wait until
    /// their agents are back; killed targets stay marked.
    ///
    /// # Errors
    /// The store can not be read.
    pub async fn restore(&self) -> Result<(), Problem> {
        let lease = self.fleet.settings().lease;
        let Unfinished { actions: unfinished, unreadable } = self.store.unfinished_actions().await?;
        let recorded = self.store.newest_actions(REMEMBERED).await?;
        self.bar(unreadable, lease).await?;
        if !recorded.is_empty() {
            self.gate.settle_for(lease);
        }
        for status in recorded.into_iter().rev() {
            if let Err(panic) = task::guarded(|| self.gate.remember(&status)) {
                self.store.set_aside(Kind::Action, &status.id, &panic);
                continue;
            }
            if status.assumed && is_over(status.state()) {
                self.book.keep(status);
            }
        }
        let settled_by = Instant::now() + lease;
        for mut status in unfinished {
            page::shorten(&mut status.evidence);
            let permit = match task::guarded(|| self.gate.adopt(&status)) {
                Ok(permit) => permit,
                Err(panic) => {
                    self.store.set_aside(Kind::Action, &status.id, &panic);
                    self.gate.bar(status.target_id, lease + self.longest);
                    continue;
                }
            };
            let stuck = status.state() == State::Stuck;
            if !stuck {
                status.state = State::Unknown.into();
                status.problem = Some(settle::restarted().into());
            }
            let id = status.id.clone();
            let mut entry = Entry::new(status, permit);
            entry.settled_by = (!stuck).then_some(settled_by);
            self.book.open(entry);
            if !stuck {
                self.settle_later(id, settled_by);
            }
        }
        Ok(())
    }

    /// What can not be read may be in force until its agent's lease and the longest fault are over.
    async fn bar(&self, unreadable: Vec<String>, lease: Duration) -> Result<(), Problem> {
        let now = unreadable.into_iter().map(|target_id| (target_id, Duration::ZERO));
        for (target_id, age) in self.store.recall_set_aside().await?.into_iter().chain(now) {
            let left = (lease + self.longest).saturating_sub(age);
            if !left.is_zero() {
                self.gate.bar(target_id, left);
            }
        }
        Ok(())
    }

    /// Longest duration of a fault.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// The scripts that can be run.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// Programs that a script needed on this target, in this incarnation, and that were not there.
    pub fn known_missing(&self, target: &Target) -> Vec<String> {
        self.missing.on(target)
    }

    /// One action, newest news first.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::NoSuchAction`], [`chaos_kitty::Code::StoreUnavailable`].
    pub async fn get(&self, id: &str) -> Result<ActionStatus, Problem> {
        match self.book.get(id) {
            Some(status) => Ok(status),
            None => self.store.action(id).await,
        }
    }

    /// What is known of an action in memory: of those that are over, the last ten thousand.
    pub fn known(&self, id: &str) -> Option<ActionStatus> {
        self.book.get(id)
    }

    /// One action, if it was ever ordered.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::StoreUnavailable`].
    pub async fn recorded(&self, id: &str) -> Result<Option<ActionStatus>, Problem> {
        match self.get(id).await {
            Ok(status) => Ok(Some(status)),
            Err(problem) if problem.code == chaos_kitty::Code::NoSuchAction => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// A page of actions, newest first. Works from memory while the store does not.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self, request: &ListActionsRequest) -> Result<Page<ActionStatus>, Problem> {
        if request.active_only {
            return Ok(page(self.book.active(), request));
        }
        match self.store.actions(request).await {
            Ok(Page { entries, next, reduced }) => {
                let latest = |status: ActionStatus| self.book.get(&status.id).unwrap_or(status);
                // What is known of them by now may be more.
                let latest = Page::of(entries.into_iter().map(latest), request.page_size);
                let next = if latest.next.is_empty() { next } else { latest.next };
                Ok(Page { entries: latest.entries, next, reduced: reduced + latest.reduced })
            }
            Err(problem) if problem.code == chaos_kitty::Code::StoreUnavailable => {
                let mut all = self.book.active();
                all.extend(self.book.finished());
                all.sort_by(|a, b| b.id.cmp(&a.id));
                Ok(page(all, request))
            }
            Err(problem) => Err(problem),
        }
    }

    /// Actions that are not over, newest first.
    pub fn active(&self) -> Vec<ActionStatus> {
        self.book.active()
    }
}

/// The page that a request means, of actions ordered newest first.
fn page(all: Vec<ActionStatus>, request: &ListActionsRequest) -> Page<ActionStatus> {
    let token = &request.page_token;
    let wanted = all.into_iter().filter(|status| {
        (token.is_empty() || status.id < *token)
            && (request.target_id.is_empty() || status.target_id == request.target_id)
    });
    Page::of(wanted, request.page_size)
}
