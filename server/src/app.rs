//! The server as a whole: puts the parts together, starts them in order, and stops them.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use chaos_kitty::{
    Problem, limits,
    v1::{ActionStatus, HaltRequest, Selector, UnleashRequest, event},
};
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use crate::{
    action::{self, Actions, Scripts},
    api::grpc::Service,
    event::{Bus, Watch},
    fleet::{self, Fleet},
    listen::Listening,
    operation::{Operations, Port, RosterChange},
    safety::{Gate, Limits},
    store::Store,
};

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
        }
    }
}

/// See the module.
pub struct App {
    settings: Settings,
    service: Arc<Service>,
}

impl App {
    /// Puts the server together on a store, takes in what an earlier start left, and starts the operations.
    /// It takes nodes and calls as soon as its service is served.
    ///
    /// # Errors
    /// The store, the halt's latch or a script can not be read.
    pub async fn start(settings: Settings, store: Store) -> Result<Self, Problem> {
        let started_at = SystemTime::now();
        let scripts = Arc::new(Scripts::load(settings.scripts_dir.as_deref())?);
        let epoch = store.begin_epoch().await?;
        let bus = Arc::new(Bus::default());
        let times = fleet::Settings {
            lease: settings.lease,
            start_timeout: settings.start_timeout,
            survivor_window: settings.survivor_window,
        };
        let (fleet, dispatcher) = Fleet::new(times, store.clone(), bus.clone(), epoch, scripts.contents());
        let gate = Gate::new(fleet.clone(), dispatcher, settings.limits, settings.latch.clone())?;
        let longest = settings.longest_fault;
        let actions = Actions::new(fleet.clone(), gate.clone(), store.clone(), bus.clone(), longest, scripts);
        actions.restore().await?;
        let ledger: Arc<dyn fleet::Ledger> = actions.clone();
        fleet.start(&ledger);
        let port = Arc::new(ForOperations {
            fleet: fleet.clone(),
            gate: gate.clone(),
            actions: actions.clone(),
            bus: bus.clone(),
        });
        let operations = Arc::new(Operations::start(port, store.clone(), Arc::new(SystemTime::now)));
        operations.start_stored().await?;
        let listening = OnceLock::new();
        let service = Service { fleet, gate, actions, operations, bus, store, started_at, listening };
        Ok(Self { settings, service: Arc::new(service) })
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

/// What operations see of the rest.
struct ForOperations {
    fleet: Arc<Fleet>,
    gate: Arc<Gate>,
    actions: Arc<Actions>,
    bus: Arc<Bus>,
}

impl Port for ForOperations {
    fn roster(&self) -> BoxStream<'static, RosterChange> {
        let (fleet, bus) = (self.fleet.clone(), self.bus.clone());
        stream::unfold(None, move |watch| {
            let (fleet, bus) = (fleet.clone(), bus.clone());
            async move { next_change(&fleet, &bus, watch).await }
        })
        .boxed()
    }

    fn under_fault(&self, target_id: &str) -> bool {
        self.gate.is_under_fault(target_id)
    }

    fn longest_fault(&self) -> Duration {
        self.actions.longest()
    }

    fn unleash(
        &self,
        request: UnleashRequest,
    ) -> BoxFuture<'static, Result<BoxStream<'static, ActionStatus>, Problem>> {
        let actions = self.actions.clone();
        Box::pin(async move { Ok(actions.unleash(request, String::new()).await?.boxed()) })
    }

    fn emit(&self, kind: event::Kind, message: String) {
        self.bus.publish(kind, message);
    }
}

/// The next change of the roster; all of it at first, and after changes were missed.
async fn next_change(
    fleet: &Fleet,
    bus: &Bus,
    watch: Option<Watch>,
) -> Option<(RosterChange, Option<Watch>)> {
    if let Some(mut watch) = watch {
        match watch.next().await {
            Some(Ok(event)) => {
                let change = match event.kind.clone() {
                    Some(event::Kind::TargetAdded(target)) => RosterChange::Upserted(Arc::new(target)),
                    Some(event::Kind::TargetRemoved(target)) => RosterChange::Removed(target.id),
                    _ => return None,
                };
                return Some((change, Some(watch)));
            }
            // It fell behind: all of it again.
            Some(Err(_)) => {}
            None => return None,
        }
    }
    // Watched before it is listed, so that nothing is missed in between.
    let watch = bus.watch(&["target_added".to_owned(), "target_removed".to_owned()]).ok()?;
    let all = fleet.roster(&Selector::default()).ok()?;
    Some((RosterChange::All(all), Some(watch)))
}
