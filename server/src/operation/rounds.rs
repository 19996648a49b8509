//! The loop of one operation.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{self, OperationStatus, Target, event},
};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Operation, WallClock,
    decide::decide,
    interval::until_next,
    kind::Kind,
    port::Port,
    roster::Roster,
    spec::Spec,
    strike::{Strike, is_skip},
};
use crate::task::{self, OnPanic, lock};

/// Strikes of one operation that may be under way at a time.
const IN_FLIGHT: usize = 64;

/// An operation of the kind `K` and what it has done so far.
pub(super) struct Rounds<K> {
    spec: Spec,
    kind: K,
    port: Arc<dyn Port>,
    clock: WallClock,
    roster: Mutex<Roster>,
    tally: Mutex<Tally>,
    in_flight: Arc<Semaphore>,
}

/// What an operation has done so far.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    hits: u64,
    errors: u64,
    skipped: u64,
    last_error: String,
    last_target: String,
    last_hit_at: Option<SystemTime>,
    next_round_at: Option<SystemTime>,
}

/// How a strike's order was answered.
enum Answer {
    Hit,
    Skipped(String),
    Error(Problem),
}

impl<K: Kind> Rounds<K> {
    pub(super) fn new(spec: Spec, kind: K, port: Arc<dyn Port>, clock: WallClock) -> Self {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        Self { spec, kind, port, clock, roster: Mutex::default(), tally: Mutex::default(), in_flight }
    }

    fn tally<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut lock(&self.tally))
    }

    fn roster<T>(&self, change: impl FnOnce(&mut Roster) -> T) -> T {
        change(&mut lock(&self.roster))
    }

    /// Waits for the next multiple of the interval on the wall clock.
    async fn wait(&self, struck: bool) {
        let now = (self.clock)();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wait = until_next(since_epoch, self.spec.interval, struck);
        self.tally(|tally| tally.next_round_at = now.checked_add(wait));
        tokio::time::sleep(wait).await;
    }

    /// One round. A strike goes on by itself: a target that hangs does not hold up the next round.
    fn round(self: &Arc<Self>) {
        let round = self.tally(|tally| {
            tally.rounds += 1;
            tally.rounds
        });
        // One operation's defect is not the end of all of them, nor of the lock on what it knows.
        let decided = self.roster(|roster| {
            task::guarded(|| {
                let targets = roster.as_slice();
                let decided = decide(self.spec.seed, round, self.spec.probability, &self.kind, targets);
                (decided.target.cloned(), decided.action)
            })
        });
        let (target, action) = match decided {
            Ok(decided) => decided,
            Err(panic) => {
                return self.failed(round, &Problem::internal(format!("the round panicked: {panic}")));
            }
        };
        let (Some(target), Some(action)) = (target.clone(), action) else {
            self.tell_round(round, target.as_deref(), None, None);
            return;
        };
        let strike = Strike { round, target, action };
        if self.port.under_fault(&strike.target.id) {
            return self.settle(&strike, Answer::Skipped("it is under a fault".to_owned()));
        }
        match Arc::clone(&self.in_flight).try_acquire_owned() {
            Ok(permit) => drop(task::spawn(OnPanic::End, Arc::clone(self).carry_out(strike, permit))),
            Err(_) => {
                let busy = format!("{IN_FLIGHT} strikes are still under way");
                self.settle(&strike, Answer::Error(Problem::new(Code::LimitReached, busy)));
            }
        }
    }

    async fn carry_out(self: Arc<Self>, strike: Strike, _permit: OwnedSemaphorePermit) {
        match strike.order(&*self.port, &self.spec.name).await {
            Err(problem) if is_skip(&problem) => self.settle(&strike, Answer::Skipped(problem.to_string())),
            Err(problem) => self.settle(&strike, Answer::Error(problem)),
            Ok(news) => {
                self.settle(&strike, Answer::Hit);
                if let Err(problem) = strike.outcome(news).await {
                    self.fail(&strike, &problem);
                }
            }
        }
    }

    /// Records how the order was answered, and tells.
    fn settle(&self, strike: &Strike, answer: Answer) {
        let action = Some(strike.action.clone());
        let error = match answer {
            Answer::Hit => {
                let now = (self.clock)();
                self.tally(|tally| {
                    tally.hits += 1;
                    tally.last_target.clone_from(&strike.target.id);
                    tally.last_hit_at = Some(now);
                });
                self.kind.tell(&self.spec.name, &strike.target, &strike.action);
                None
            }
            Answer::Skipped(reason) => {
                self.tally(|tally| tally.skipped += 1);
                let (operation, target_id) = (&self.spec.name, &strike.target.id);
                tracing::debug!(operation, target_id, reason, "The kitty left it alone.");
                Some(reason)
            }
            Answer::Error(problem) => {
                self.fail(strike, &problem);
                Some(problem.to_string())
            }
        };
        self.tell_round(strike.round, Some(&strike.target), action, error);
    }

    /// A round that came to no decision.
    fn failed(&self, round: u64, problem: &Problem) {
        self.count(problem);
        self.tell_round(round, None, None, Some(problem.to_string()));
    }

    fn count(&self, problem: &Problem) {
        self.tally(|tally| {
            tally.errors += 1;
            tally.last_error = problem.to_string();
        });
    }

    fn fail(&self, strike: &Strike, problem: &Problem) {
        self.count(problem);
        let (operation, target_id, name) = (&self.spec.name, &strike.target.id, &strike.target.name);
        let (code, error) = (problem.code.number(), &problem.message);
        tracing::error!(operation, round = strike.round, target_id, name, code, error, "Loop error:");
    }

    fn tell_round(
        &self,
        round: u64,
        target: Option<&Target>,
        action: Option<v1::Action>,
        error: Option<String>,
    ) {
        let operation = self.spec.name.clone();
        let what = match (target, &action, &error) {
            (None, ..) => "nobody to draw".to_owned(),
            (Some(target), None, _) => format!("{} drawn, spared", target.name),
            (Some(target), Some(_), None) => format!("{} struck", target.name),
            (Some(target), Some(_), Some(error)) => format!("{} drawn, not struck: {error}", target.name),
        };
        let message = format!("{operation}, round {round}: {what}");
        let round = event::OperationRound {
            operation,
            round,
            target_id: target.map(|it| it.id.clone()).unwrap_or_default(),
            target_name: target.map(|it| it.name.clone()).unwrap_or_default(),
            hit: action.is_some(),
            action,
            error: error.unwrap_or_default(),
        };
        self.port.emit(event::Kind::OperationRound(round), message);
    }
}

impl<K: Kind> Operation for Rounds<K> {
    fn register(&self, target: &Arc<Target>) {
        let selected = self.spec.selects::<K>(target);
        self.roster(|roster| if selected { roster.insert(target) } else { roster.remove(&target.id) });
    }

    fn remove(&self, target_id: &str) {
        self.roster(|roster| roster.remove(target_id));
    }

    fn status(&self) -> OperationStatus {
        let targets = self.roster(|roster| u32::try_from(roster.as_slice().len()).unwrap_or(u32::MAX));
        self.tally(|tally| OperationStatus {
            operation: Some(self.spec.wire(self.kind.parameters())),
            kind: K::NAME.to_owned(),
            targets,
            rounds: tally.rounds,
            hits: tally.hits,
            errors: tally.errors,
            skipped: tally.skipped,
            last_error: tally.last_error.clone(),
            next_round_at: tally.next_round_at.map(Timestamp::from),
            last_target: tally.last_target.clone(),
            last_hit_at: tally.last_hit_at.map(Timestamp::from),
            problem: None,
        })
    }

    fn run(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut struck = false;
            loop {
                self.wait(struck).await;
                self.round();
                struck = true;
            }
        })
    }
}
