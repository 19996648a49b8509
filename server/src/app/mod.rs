//! The server as a whole: puts the parts together, starts them in order, and stops them.
//!
//! `for_operations`, `for_experiments` and `for_schedule` are what the upper layers see of the lower ones.

mod for_experiments;
mod for_operations;
mod for_schedule;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use chaos_kitty::{Problem, limits, v1::HaltRequest};
use futures_util::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    action::{self, Actions, Scripts},
    api::grpc::Service,
    event::{
        Bus,
        notify::{Notifier, Webhook},
    },
    experiment::{self, Experiments},
    fleet::{self, Fleet},
    listen::Listening,
    operation::Operations,
    safety::{Admin, Gate, Limits},
    schedule::{self, Scheduler},
    store::{Kind, Store},
};
use for_experiments::ForExperiments;
use for_operations::ForOperations;
use for_schedule::ForSchedule;

/// What can be configured of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What an agent holds ends this long after the last sign of life of the server.
    pub lease: Duration,
    /// Longest duration of a fault.
    pub longest_fault: Duration,
    /// How long an order may take to be acknowledged.
    pub start_timeout: Duration,
    /// How long the largest size of a group counts for its survivors.
    pub survivor_window: Duration,
    /// How much may be hurt at a time.
    pub limits: Limits,
    /// The file that keeps a halt across restarts. `None`: a halt lasts as long as the process.
    pub latch: Option<PathBuf>,
    /// A folder of scripts besides the included ones.
    pub scripts_dir: Option<PathBuf>,
    /// Revert everything before the server stops.
    pub halt_on_exit: bool,
    /// The numbers that experiments go by.
    pub experiments: experiment::Settings,
    /// When automatic experiments start.
    pub schedule: schedule::Settings,
    /// Where notifications go.
    pub webhooks: Vec<Webhook>,
    /// How long a stream of news may be silent.
    pub heartbeat: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: limits::LEASE,
            longest_fault: action::LONGEST,
            start_timeout: Duration::from_secs(5),
            survivor_window: Duration::from_secs(600),
            limits: Limits::default(),
            latch: None,
            scripts_dir: None,
            halt_on_exit: false,
            experiments: experiment::Settings::default(),
            schedule: schedule::Settings::default(),
            webhooks: Vec::new(),
            heartbeat: Duration::from_secs(20),
        }
    }
}

/// See the module.
pub struct App {
    settings: Settings,
    service: Arc<Service>,
    _ticking: AbortOnDropHandle<()>,
}

impl App {
    /// Puts the server together on a store, takes in what an earlier start left, and starts the operations.
    /// It takes nodes and calls as soon as its service is served.
    ///
    /// # Errors
    /// The store or a script can not be read, or a webhook can not be used. A record that can not be read is set aside.
    pub async fn start(settings: Settings, store: Store) -> Result<Self, Problem> {
        let started_at = SystemTime::now();
        let scripts = Arc::new(Scripts::load(settings.scripts_dir.as_deref())?);
        let epoch = store.begin_epoch().await?;
        let bus = Arc::new(Bus::default());
        let notifier = Notifier::start(bus.clone(), settings.webhooks.clone())?;
        let times = fleet::Settings {
            lease: settings.lease,
            start_timeout: settings.start_timeout,
            survivor_window: settings.survivor_window,
        };
        let (fleet, dispatcher) = Fleet::new(times, store.clone(), bus.clone(), epoch, scripts.contents());
        let gate = Gate::new(fleet.clone(), dispatcher, settings.limits, settings.latch.clone())?;
        if let Some((path, reason)) = gate.unreadable_latch() {
            store.set_aside(Kind::Latch, &path, &reason);
        }
        let longest = settings.longest_fault;
        let actions = Actions::new(fleet.clone(), gate.clone(), store.clone(), bus.clone(), longest, scripts);
        actions.restore().await?;
        let admin = Admin::open(gate.clone(), store.clone(), bus.clone()).await?;
        let port = Arc::new(ForExperiments {
            fleet: fleet.clone(),
            gate: gate.clone(),
            actions: actions.clone(),
            admin: admin.clone(),
            bus: bus.clone(),
        });
        // Their targets are hurt before anybody can be hit.
        let (clock, numbers) = (Arc::new(SystemTime::now), settings.experiments.clone());
        let experiments = Experiments::start(port, store.clone(), clock, numbers).await?;
        let ledger: Arc<dyn fleet::Ledger> = actions.clone();
        fleet.start(&ledger);
        let port = Arc::new(ForOperations {
            fleet: fleet.clone(),
            gate: gate.clone(),
            actions: actions.clone(),
            admin: admin.clone(),
            bus: bus.clone(),
        });
        let operations = Arc::new(Operations::start(port, store.clone(), Arc::new(SystemTime::now)));
        operations.start_stored().await?;
        let port = Arc::new(ForSchedule {
            fleet: fleet.clone(),
            gate: gate.clone(),
            admin: admin.clone(),
            experiments: experiments.clone(),
        });
        let (clock, plans) = (Arc::new(SystemTime::now), settings.schedule.clone());
        let schedule = Scheduler::new(port, store.clone(), clock, plans, rand::random()).await?;
        let ticking = schedule.run();
        let listening = OnceLock::new();
        let service = Service {
            fleet,
            gate,
            actions,
            operations,
            experiments,
            schedule,
            admin,
            bus,
            notifier,
            store,
            started_at,
            heartbeat: settings.heartbeat,
            listening,
        };
        Ok(Self { settings, service: Arc::new(service), _ticking: ticking })
    }

    /// The service, for every listener.
    pub fn service(&self) -> Arc<Service> {
        self.service.clone()
    }

    /// Where the server listens, for `GetStatus`. Once.
    pub fn listens_on(&self, listening: Listening) {
        let _ = self.service.listening.set(listening);
    }

    /// Admits nothing more, ends the operations, and ends the streams, so that agents come back to the next
    /// start; they keep what they hold unless `halt_on_exit` reverts it first.
    pub async fn drain(&self) {
        self.service.gate.stop();
        self.service.operations.shutdown();
        self.service.store.end_attempt();
        if self.settings.halt_on_exit {
            self.revert_everything().await;
        }
        self.service.fleet.stop_taking();
    }

    /// A halt that the next start knows nothing of.
    async fn revert_everything(&self) {
        let was_halted = self.service.gate.halted_at().is_some();
        let request = HaltRequest { reason: "the server stops".to_owned(), source: "kittyd".to_owned() };
        let mut progress = self.service.actions.halt(&request);
        while progress.next().await.is_some() {}
        if !was_halted && let Err(problem) = self.service.actions.resume("kittyd") {
            tracing::error!(%problem, "the fleet stays halted");
        }
    }
}
