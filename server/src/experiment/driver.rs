//! Drives all experiments: looks, asks the life cycle, writes what it says, and only then has an effect. A tick looks
//! at all of them; news of a target or a fault at those that they are about, at once.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use chaos_kitty::v1::{Event, Experiment, event::Kind, experiment_state::Name as State};
use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Experiments,
    company::{Companies, is_neighbour},
    life::{self, Next, Presence},
    port::news,
};
use crate::{
    hooks,
    task::{self, OnPanic},
};

/// After this time, the first look at what was taken up at the start has had its effect.
const DRIVEN: Duration = Duration::from_secs(2);

/// What makes the driver look.
enum Cause {
    Tick,
    News(Option<Arc<Event>>),
    Wake,
}

/// Drives until the experiments are dropped.
pub(super) async fn drive(
    this: Weak<Experiments>,
    wake: Arc<Notify>,
    mut events: BoxStream<'static, Arc<Event>>,
) {
    let Some(tick) = this.upgrade().map(|experiments| experiments.settings.tick) else { return };
    let mut ticks = interval(tick);
    let mut taken_up = false;
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(due) = this.upgrade().map(|experiments| experiments.due()) else { return };
        let cause = tokio::select! {
            _ = ticks.tick() => Cause::Tick,
            event = events.next() => Cause::News(event),
            () = wake.notified() => Cause::Wake,
            () = sleep(due) => Cause::Wake,
        };
        let Some(experiments) = this.upgrade() else { return };
        let ids = match cause {
            Cause::Tick => {
                if !std::mem::replace(&mut taken_up, true) {
                    let store = experiments.store.clone();
                    task::spawn(OnPanic::End, async move {
                        sleep(DRIVEN).await;
                        store.end_attempt();
                    });
                }
                experiments.begin_tick()
            }
            Cause::Wake => BTreeSet::new(),
            Cause::News(None) => {
                // News were missed.
                events = experiments.port.events();
                experiments.ids()
            }
            Cause::News(Some(event)) => {
                let mut ids = experiments.concerned(&event);
                while let Some(Some(event)) = events.next().now_or_never() {
                    ids.extend(experiments.concerned(&event));
                }
                ids
            }
        };
        experiments.look_at(ids);
    }
}

impl Experiments {
    /// Looks at these experiments, at those that are due and at those that somebody woke.
    fn look_at(&self, mut ids: BTreeSet<String>) {
        let now = self.now();
        {
            let mut state = self.state();
            ids.append(&mut state.woken);
            let due = state.active.iter().filter(|(_, entry)| entry.due.is_some_and(|due| due <= now));
            ids.extend(due.map(|(id, _)| id.clone()));
        }
        let admin = self.port.admin();
        let mut companies = Companies::default();
        for id in ids {
            if let Some(next) = self.decide(&id, now, &admin, &mut companies) {
                let Some(this) = self.this.upgrade() else { return };
                task::spawn(OnPanic::Abort, async move {
                    if let Err(panic) = task::caught(this.clone().carry_out(&id, next)).await {
                        this.panicked(&id, &panic);
                    }
                    this.wake(&id);
                });
            }
        }
    }

    /// What is to be done about an experiment, if anything is.
    fn decide(
        &self,
        id: &str,
        now: SystemTime,
        admin: &chaos_kitty::v1::AdminStateResponse,
        companies: &mut Companies,
    ) -> Option<Next> {
        let mut state = self.state();
        let suite_abort = {
            let entry = state.active.get(id)?;
            state.suites.get(&entry.suite()).and_then(|suite| suite.abort.clone())
        };
        let entry = state.active.get_mut(id)?;
        if entry.busy {
            return None;
        }
        entry.due = None;
        let action = entry.experiment().action_id.clone();
        if !action.is_empty()
            && let Some(status) = self.port.action(&action)
        {
            entry.take_in(&status);
        }
        let now = entry.now(now);
        entry.look(&self.port.look(&entry.target), now);
        let counts =
            entry.presence == Presence::Gone || entry.method.health == super::method::Health::Complete;
        let group_is_back = counts && {
            let state = &mut *state;
            companies.is_back(&*self.port, &state.active, id)
        };
        let entry = state.active.get_mut(id)?;
        let seen = entry.seen(now, admin, group_is_back, suite_abort);
        // Not while the panic unwinds through the lock: one experiment's defect is not the end of all.
        let next = match task::guarded(|| life::next(&entry.experiment(), &entry.method, &seen)) {
            Ok(next) => next,
            Err(panic) => {
                drop(state);
                self.panicked(id, &panic);
                return None;
            }
        };
        if let Next::Wait(due) = next {
            entry.due = due;
            return None;
        }
        entry.busy = true;
        Some(next)
    }

    /// Writes what comes next, has the effect that it announces, and has the experiment looked at again.
    async fn carry_out(self: Arc<Self>, id: &str, next: Next) {
        let now = self.now();
        match next {
            Next::Wait(_) => {}
            Next::Act(effect) => self.act(id, effect).await,
            Next::Become(state, reason) => {
                let becomes = |experiment: &mut Experiment| {
                    if state == State::Starting {
                        experiment.action_id = uuid::Uuid::now_v7().to_string();
                    }
                    life::enter(experiment, state, &reason, now);
                };
                self.change(id, becomes).await;
            }
            Next::Note(note) => {
                self.change(id, |experiment| life::note(experiment, note, now)).await;
            }
            Next::Fail(problem) => {
                let fails = |experiment: &mut Experiment| {
                    let reason = problem.message.clone();
                    experiment.problem = Some(problem.into());
                    life::enter(experiment, State::Failed, &reason, now);
                };
                self.change(id, fails).await;
            }
            Next::Doom(problem) => {
                self.change(id, |experiment| experiment.problem = Some(problem.into())).await;
            }
            Next::Heal(remedies) => {
                if self.change(id, |experiment| life::attempt(experiment, &remedies, now)).await {
                    hooks::point("experiment-before-heal");
                    self.heal(id, remedies).await;
                    hooks::point("experiment-healed");
                }
            }
        }
    }

    /// Changes an experiment in the store, then here, and tells. False: it could not be written, and is as it was.
    pub(super) async fn change(&self, id: &str, change: impl FnOnce(&mut Experiment)) -> bool {
        let present = self.state().active.get(id).map(|entry| entry.experiment().clone());
        let Some(mut experiment) = present else { return false };
        change(&mut experiment);
        if let Some(entry) = self.state().active.get(id) {
            entry.note_end(&mut experiment);
        }
        hooks::point("experiment-before-write");
        if let Err(problem) = self.store.put_experiment(&experiment).await {
            tracing::error!(experiment = id, %problem, "the experiment stays as it is until it can be written");
            if let Some(entry) = self.state().active.get_mut(id) {
                entry.tried = true;
            }
            return false;
        }
        hooks::point("experiment-written");
        self.tell(id, experiment);
        true
    }

    fn tell(&self, id: &str, experiment: Experiment) {
        let over = life::is_over(experiment.experiment_state());
        let mut ended = None;
        let teller = {
            let mut state = self.state();
            let Some(entry) = state.active.get_mut(id) else { return };
            entry.changed(&experiment);
            let teller = entry.teller();
            if over {
                ended = state.active.remove(id);
            } else {
                teller.send_replace(experiment.clone());
            }
            teller
        };
        let last = experiment.transitions.last();
        tracing::info!(
            experiment = id,
            method = experiment.experiment_method_name,
            target = experiment.container.as_ref().map_or("", |target| target.id.as_str()),
            state = experiment.experiment_state().as_str_name(),
            reason = last.map_or("", |last| last.reason.as_str()),
            "experiment"
        );
        let (kind, message) = news(&experiment);
        // The target is free before anybody can see that the experiment is over.
        if let Some(entry) = ended {
            let suite = entry.suite();
            drop(entry);
            self.ended(suite, &experiment);
            teller.send_replace(experiment);
        }
        self.port.emit(kind, message);
    }

    /// A defect showed on this experiment: it is tried again at the next tick, and given up at the second time.
    fn panicked(&self, id: &str, panic: &str) {
        tracing::error!(experiment = id, panic, "driving the experiment panicked");
        let again = {
            let mut state = self.state();
            let Some(entry) = state.active.get_mut(id) else { return };
            entry.tried = true;
            std::mem::replace(&mut entry.panicked, true)
        };
        if again {
            self.let_go(id, panic);
        }
    }

    /// It can not be driven: its fault is ended, and it is set aside.
    fn let_go(&self, id: &str, panic: &str) {
        let action = self.state().active.get(id).map(|entry| entry.experiment().action_id.clone());
        if let Some(action) = action.filter(|action| !action.is_empty()) {
            let revert = self.port.revert(action);
            task::spawn(OnPanic::End, async move { drop(revert.await) });
        }
        self.give_up(id, panic);
    }

    /// What was under way is through.
    fn wake(&self, id: &str) {
        if let Some(entry) = self.state().active.get_mut(id) {
            entry.busy = false;
        }
        self.look_again(id);
    }

    /// Has an experiment looked at again.
    pub(super) fn look_again(&self, id: &str) {
        self.state().woken.insert(id.to_owned());
        self.wake.notify_one();
    }

    /// Has all of a suite's experiments looked at again.
    pub(super) fn wake_suite(&self, suite: i64) {
        {
            let mut state = self.state();
            let of_suite = state.active.iter().filter(|(_, entry)| entry.suite() == suite);
            let ids: Vec<_> = of_suite.map(|(id, _)| id.clone()).collect();
            state.woken.extend(ids);
        }
        self.wake.notify_one();
    }

    /// What was tried in vain may be tried again.
    fn begin_tick(&self) -> BTreeSet<String> {
        let mut state = self.state();
        state.active.values_mut().for_each(|entry| entry.tried = false);
        state.active.keys().cloned().collect()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.state().active.keys().cloned().collect()
    }

    /// The experiments that an event is about.
    fn concerned(&self, event: &Event) -> BTreeSet<String> {
        let state = self.state();
        let of = |is: &dyn Fn(&super::Entry) -> bool| {
            state.active.iter().filter(|(_, entry)| is(entry)).map(|(id, _)| id.clone()).collect()
        };
        match &event.kind {
            Some(Kind::Action(status)) => of(&|entry| entry.experiment().action_id == status.id),
            Some(Kind::TargetAdded(target) | Kind::TargetChanged(target) | Kind::TargetRemoved(target)) => {
                of(&|entry| is_neighbour(&entry.target, target))
            }
            _ => state.active.keys().cloned().collect(),
        }
    }

    /// How long until an experiment is due, and no longer than a tick.
    fn due(&self) -> Duration {
        let now = self.now();
        let state = self.state();
        let dues = state.active.values().filter(|entry| !entry.busy).filter_map(|entry| entry.due);
        let next = dues.min().map(|due| due.duration_since(now).unwrap_or_default());
        next.unwrap_or(self.settings.tick).min(self.settings.tick)
    }
}
