//! The schedule as a whole: real decisions and a real store, on a clock that the tests set. Only the fleet and
//! its experiments are the tests' own.

mod choice;
mod switch;
mod year;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Code, Problem,
    v1::{
        BuildExperimentResponse, Experiment, ExperimentMethod, Target, experiment_type::Name as Kind,
        target_health::State,
    },
};
use futures_util::future::BoxFuture;
use jiff::{Timestamp, civil::date};

use super::{Activity, Calendar, Drawn, Plan, Port, Scheduler, Settings};
use crate::{operation::WallClock, store::Store};

/// How long its experiments run.
const RUN: Duration = Duration::from_secs(300);

/// A fleet whose experiments run for [`RUN`], and the clock that it lives by.
struct Fleet {
    now: Mutex<Timestamp>,
    targets: Vec<Arc<Target>>,
    methods: Vec<ExperimentMethod>,
    state: Mutex<State_>,
}

#[derive(Default)]
struct State_ {
    ends: Option<Timestamp>,
    started: Vec<(Timestamp, Drawn)>,
    refuses: Option<Problem>,
    paused: bool,
}

impl Fleet {
    fn new(targets: Vec<Target>) -> Arc<Self> {
        let monday = date(2026, 1, 5).at(7, 0, 0, 0).in_tz("UTC").unwrap().timestamp();
        let methods = vec![
            method("burn", Kind::Resource, false),
            method("fill", Kind::Resource, false),
            method("kill", Kind::State, true),
        ];
        let targets = targets.into_iter().map(Arc::new).collect();
        Arc::new(Self { now: Mutex::new(monday), targets, methods, state: Mutex::default() })
    }

    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    fn state<T>(&self, change: impl FnOnce(&mut State_) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// When which platform's experiments started.
    fn started(&self) -> Vec<(Timestamp, String)> {
        self.state(|state| {
            state.started.iter().map(|(at, drawn)| (*at, drawn.platform_type.clone())).collect()
        })
    }
}

impl Port for Fleet {
    fn platforms(&self) -> Vec<String> {
        let mut all: Vec<_> = self.targets.iter().map(|target| target.platform_type.clone()).collect();
        all.dedup();
        all
    }

    fn roster(&self, platform_type: &str) -> Vec<Arc<Target>> {
        self.targets.iter().filter(|target| target.platform_type == platform_type).cloned().collect()
    }

    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool> {
        let is_spared =
            |target: &Arc<Target>| target.health() == State::Normal && !target.id.contains("hurt");
        targets.iter().map(is_spared).collect()
    }

    fn methods(&self, _: &Target) -> Vec<ExperimentMethod> {
        self.methods.clone()
    }

    fn activity(&self) -> Activity {
        let (now, ends) = (self.now(), self.state(|state| state.ends));
        let running = ends.is_some_and(|ends| now < ends);
        Activity { running, ended: ends.filter(|_| !running).map(SystemTime::from) }
    }

    fn admits(&self) -> Result<(), Problem> {
        let paused = self.state(|state| state.paused);
        if paused { Err(Problem::new(Code::NotAdmitted, "paused")) } else { Ok(()) }
    }

    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem> {
        let found = self.targets.iter().find(|known| known.id == target).cloned();
        found.ok_or_else(|| Problem::new(Code::NoSuchTarget, "none"))
    }

    fn start(&self, drawn: Drawn) -> BoxFuture<'static, Result<BuildExperimentResponse, Problem>> {
        let now = self.now();
        let answer = self.state(|state| {
            if let Some(problem) = state.refuses.clone() {
                return Err(problem);
            }
            state.ends = Some(now + RUN);
            let experiments = drawn.picks.iter().map(|_| Experiment::default()).collect();
            state.started.push((now, drawn));
            Ok(BuildExperimentResponse { experiments, ..BuildExperimentResponse::default() })
        });
        Box::pin(async move { answer })
    }
}

fn method(name: &str, kind: Kind, cattle_only: bool) -> ExperimentMethod {
    let experiment_type = kind.into();
    ExperimentMethod { name: name.to_owned(), experiment_type, cattle_only, ..ExperimentMethod::default() }
}

fn target(platform: &str, group: &str, name: &str) -> Target {
    Target {
        id: format!("{platform}/{name}"),
        name: name.to_owned(),
        platform_type: platform.to_owned(),
        aggregation_identifier: group.to_owned(),
        cattle: true,
        health: State::Normal.into(),
        ..Target::default()
    }
}

/// Five in one group.
fn group(platform: &str) -> Vec<Target> {
    (0..5).map(|number| target(platform, "web", &format!("web-{number}"))).collect()
}

fn clock(fleet: &Arc<Fleet>) -> WallClock {
    let fleet = Arc::clone(fleet);
    Arc::new(move || fleet.now().into())
}

async fn scheduler_on(fleet: &Arc<Fleet>, store: Store, settings: Settings, seed: u64) -> Arc<Scheduler> {
    let port: Arc<dyn Port> = Arc::clone(fleet) as Arc<dyn Port>;
    Scheduler::new(port, store, clock(fleet), settings, seed).await.unwrap()
}

async fn scheduler(fleet: &Arc<Fleet>, settings: Settings, seed: u64) -> Arc<Scheduler> {
    scheduler_on(fleet, Store::in_memory().unwrap(), settings, seed).await
}

fn switched(automated: bool) -> chaos_kitty::v1::UpdateScheduleRequest {
    chaos_kitty::v1::UpdateScheduleRequest { automated: Some(automated), backoff: None }
}

/// Ticks every 15 s for so long.
async fn live(fleet: &Fleet, scheduler: &Scheduler, time: Duration) {
    live_by(Duration::from_secs(15), fleet, scheduler, time).await;
}

async fn live_by(tick: Duration, fleet: &Fleet, scheduler: &Scheduler, time: Duration) {
    let end = fleet.now() + time;
    while fleet.now() < end {
        scheduler.tick().await.unwrap();
        fleet.pass(tick);
    }
}
