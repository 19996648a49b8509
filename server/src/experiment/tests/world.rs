//! A world of targets that do as they are told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Problem,
    v1::{
        Action, ActionStatus, AdminStateResponse, Agent, Event, StepResult, Target, action::Kind,
        action_kind::Name, action_state::Name as ActionState, admin_state::Name as Admin, event,
        event::AdminStateChanged, run_step, target_health::State as Health,
    },
};
use futures_util::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::BoxStream,
};
use tokio::time::Instant;

use super::super::{Engagement, Experiments, Port, Settings, Sight, Wish};
use crate::{
    action::{Script, Scripts},
    event::Bus,
    fleet::is_over,
    store::Store,
};

const NAP: &str = "#!/bin/sh
# Description: naps
# Health check: true
# Self healing: true
# Finalize command: true
";

/// A world, and the experiments in it.
pub(super) struct World {
    port: Arc<Fake>,
    store: Store,
    begun: Instant,
    /// How many seconds the wall clock is set ahead.
    ahead: Arc<AtomicU64>,
    experiments: Mutex<Option<Arc<Experiments>>>,
}

struct Fake {
    bus: Bus,
    scripts: Vec<Arc<Script>>,
    engaged: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    targets: BTreeMap<String, Arc<Target>>,
    actions: HashMap<String, ActionStatus>,
    orders: Vec<String>,
    /// By name; a step of a name that was carried out is not carried out again.
    steps: Vec<String>,
    /// A health check fails until so many steps of this word were carried out.
    sick_until: (String, usize),
    admin: Admin,
    /// The agent of all targets is away.
    away: bool,
    /// Whoever orders something panics.
    panics: bool,
}

struct Mark(Arc<AtomicUsize>);

impl Engagement for Mark {}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl World {
    pub(super) async fn start(targets: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nap.sh"), NAP).unwrap();
        let scripts = Scripts::load(Some(folder.path())).unwrap().all().cloned().collect();
        let target = |number: usize| Target {
            id: format!("process/here/web:{number}"),
            name: format!("web:{number}"),
            incarnation: "1".to_owned(),
            platform_type: "ProcessPlatform".to_owned(),
            aggregation_identifier: "web".to_owned(),
            cattle: true,
            health: Health::Normal.into(),
            actions: [Name::Delay, Name::Kill, Name::Script].map(i32::from).to_vec(),
            ..Target::default()
        };
        let targets = (0..targets).map(target).map(|target| (target.id.clone(), Arc::new(target))).collect();
        let state = State { targets, admin: Admin::Started, ..State::default() };
        let port = Fake { bus: Bus::default(), scripts, engaged: Arc::default(), state: Mutex::new(state) };
        let world = Self {
            port: Arc::new(port),
            store: Store::in_memory().unwrap(),
            begun: Instant::now(),
            ahead: Arc::default(),
            experiments: Mutex::new(None),
        };
        world.restart().await;
        world
    }

    /// Another start of the server: whatever was under way is forgotten.
    pub(super) async fn restart(&self) {
        self.restart_after(0).await;
    }

    /// The same, after so many starts that ended before they drove anything.
    pub(super) async fn restart_after(&self, crashes: usize) {
        drop(self.experiments.lock().unwrap().take());
        // Tasks that were under way end where they are: nobody polls them any more once they have yielded.
        tokio::task::yield_now().await;
        for _ in 0..crashes {
            self.store.begin_attempt().await.unwrap();
        }
        let (begun, ahead) = (self.begun, self.ahead.clone());
        let clock = Arc::new(move || {
            let ahead = Duration::from_secs(ahead.load(Ordering::Relaxed));
            SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30) + begun.elapsed() + ahead
        });
        let port = self.port.clone();
        let started = Experiments::start(port, self.store.clone(), clock, Settings::default()).await;
        *self.experiments.lock().unwrap() = Some(started.unwrap());
    }

    /// Sets the wall clock: so far ahead of what it would be.
    pub(super) fn set_ahead(&self, ahead: Duration) {
        self.ahead.store(ahead.as_secs(), Ordering::Relaxed);
    }

    pub(super) fn experiments(&self) -> Arc<Experiments> {
        self.experiments.lock().unwrap().clone().unwrap()
    }

    pub(super) fn store(&self) -> Store {
        self.store.clone()
    }

    pub(super) fn port(&self) -> Arc<dyn Port> {
        self.port.clone()
    }

    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30) + self.begun.elapsed()
    }

    pub(super) fn set(&self, state: Admin) {
        self.port.state.lock().unwrap().admin = state;
        let changed = AdminStateChanged { state: state.into(), source: String::new() };
        self.port.bus.publish(event::Kind::AdminState(changed), "");
    }

    /// The agent of all targets leaves, or comes back.
    pub(super) fn leave(&self, away: bool) {
        self.port.state.lock().unwrap().away = away;
    }

    /// A target dies, and nothing comes instead of it.
    pub(super) fn lose(&self, id: &str) {
        self.port.state.lock().unwrap().targets.remove(id);
    }

    /// What the agent says of all faults.
    pub(super) fn report(&self, change: impl Fn(&mut ActionStatus)) {
        let mut state = self.port.state.lock().unwrap();
        state.actions.values_mut().for_each(&change);
        let told: Vec<_> = state.actions.values().cloned().collect();
        drop(state);
        told.into_iter().for_each(|status| self.port.tell(status));
    }

    pub(super) fn sick_until(&self, word: &str, count: usize) {
        self.port.state.lock().unwrap().sick_until = (word.to_owned(), count);
    }

    pub(super) fn panic_at_orders(&self, panics: bool) {
        self.port.state.lock().unwrap().panics = panics;
    }

    pub(super) fn orders(&self) -> Vec<String> {
        self.port.state.lock().unwrap().orders.clone()
    }

    pub(super) fn steps(&self) -> Vec<String> {
        self.port.state.lock().unwrap().steps.clone()
    }

    pub(super) fn engaged(&self) -> usize {
        self.port.engaged.load(Ordering::Relaxed)
    }

    pub(super) fn in_force(&self) -> usize {
        let state = self.port.state.lock().unwrap();
        state.actions.values().filter(|status| !is_over(status.state())).count()
    }
}

impl Fake {
    fn tell(&self, status: ActionStatus) {
        self.bus.publish(event::Kind::Action(status), "");
    }

    /// It dies, and something starts the like of it.
    fn recycle(state: &mut State, id: &str) {
        if let Some(target) = state.targets.get_mut(id) {
            let next = format!("{}1", target.incarnation);
            *target = Arc::new(Target { incarnation: next, ..Target::clone(target) });
        }
    }
}

impl Port for Fake {
    fn roster(&self, _: &str) -> Result<Vec<Arc<Target>>, Problem> {
        Ok(self.state.lock().unwrap().targets.values().cloned().collect())
    }

    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool> {
        vec![true; targets.len()]
    }

    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem> {
        let found = self.state.lock().unwrap().targets.get(target).cloned();
        found.ok_or_else(|| Problem::internal(target))
    }

    fn look(&self, target: &Target) -> Sight {
        let state = self.state.lock().unwrap();
        match state.targets.get(&target.id) {
            _ if state.away => Sight::Away,
            Some(now) if now.incarnation == target.incarnation => Sight::Here(now.clone()),
            _ => Sight::Gone,
        }
    }

    fn company(&self, _: &Target) -> usize {
        self.state.lock().unwrap().targets.len()
    }

    fn agents(&self) -> Vec<Agent> {
        Vec::new()
    }

    fn engage(&self, wishes: &[Wish], _: usize) -> Result<Vec<Box<dyn Engagement>>, Problem> {
        Ok(wishes.iter().map(|wish| self.engage_again(wish)).collect())
    }

    fn engage_again(&self, _: &Wish) -> Box<dyn Engagement> {
        self.engaged.fetch_add(1, Ordering::Relaxed);
        Box::new(Mark(self.engaged.clone()))
    }

    fn order(
        &self,
        action_id: String,
        target: Arc<Target>,
        action: Action,
        source: String,
    ) -> BoxFuture<'static, Result<(), Problem>> {
        let panics = self.state.lock().unwrap().panics;
        assert!(!panics, "told to");
        let mut state = self.state.lock().unwrap();
        let kills = matches!(action.kind, Some(Kind::Kill(_)));
        let now = if kills { ActionState::Done } else { ActionState::Started };
        let status = ActionStatus {
            id: action_id.clone(),
            state: now.into(),
            target_id: target.id.clone(),
            action: Some(action),
            source,
            ..ActionStatus::default()
        };
        if kills {
            Self::recycle(&mut state, &target.id);
        }
        state.orders.push(action_id.clone());
        state.actions.insert(action_id, status.clone());
        drop(state);
        self.tell(status);
        future::ready(Ok(())).boxed()
    }

    fn action(&self, id: &str) -> Option<ActionStatus> {
        self.state.lock().unwrap().actions.get(id).cloned()
    }

    fn recorded_action(&self, id: String) -> BoxFuture<'static, Result<Option<ActionStatus>, Problem>> {
        future::ready(Ok(self.action(&id))).boxed()
    }

    fn revert(&self, action_id: String) -> BoxFuture<'static, Result<(), Problem>> {
        let mut state = self.state.lock().unwrap();
        if let Some(status) = state.actions.get_mut(&action_id) {
            status.state = ActionState::Reverted.into();
            let status = status.clone();
            drop(state);
            self.tell(status);
        }
        future::ready(Ok(())).boxed()
    }

    fn step(
        &self,
        target: Arc<Target>,
        step_id: String,
        kind: run_step::Kind,
        _: Duration,
    ) -> BoxFuture<'static, Result<StepResult, Problem>> {
        let mut state = self.state.lock().unwrap();
        let (word, count) = state.sick_until.clone();
        let done = state.steps.iter().filter(|step| step.contains(&format!("/{word}/"))).count();
        let sick = step_id.contains("/check/") && done < count;
        if !state.steps.contains(&step_id) {
            if matches!(kind, run_step::Kind::Recycle(_)) {
                Self::recycle(&mut state, &target.id);
            }
            state.steps.push(step_id.clone());
        }
        let result = StepResult { step_id, exit_code: Some(i32::from(sick)), ..StepResult::default() };
        future::ready(Ok(result)).boxed()
    }

    fn known_missing(&self, _: &Target) -> Vec<String> {
        Vec::new()
    }

    fn scripts(&self) -> Vec<Arc<Script>> {
        self.scripts.clone()
    }

    fn longest_fault(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn admin(&self) -> AdminStateResponse {
        let state = self.state.lock().unwrap().admin.into();
        AdminStateResponse { state, halted: false, since: None }
    }

    fn events(&self) -> BoxStream<'static, Arc<Event>> {
        self.bus.watch(&[]).unwrap().filter_map(|event| future::ready(event.ok())).boxed()
    }

    fn emit(&self, _: event::Kind, _: String) {}
}
