//! All operations of the server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use chaos_kitty::{
    Code, Problem,
    v1::{self, OperationStatus, Selector, Target, event, operation::Kind as Wire},
};
use futures_util::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Operation,
    floop::Floop,
    groom::Groom,
    hairball::Hairball,
    kind::Kind,
    port::{Port, RosterChange},
    rounds::Rounds,
    scratch::Scratch,
    spec::{self, Spec},
    yowl::Yowl,
    zoomies::Zoomies,
};
use crate::{
    store::Store,
    task::{self, OnPanic, lock},
};

/// Operations at a time.
const MOST: usize = 256;

/// Tells the time of day. Injected, so that a test can tell another.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// All operations of the server: each runs in a task of its own from when it is put until it is deleted.
/// None runs until it is put.
pub struct Operations {
    shared: Arc<Shared>,
    store: Store,
    /// One put or delete at a time, so that store and tasks agree.
    changes: tokio::sync::Mutex<()>,
    _roster: AbortOnDropHandle<()>,
}

struct Shared {
    port: Arc<dyn Port>,
    clock: WallClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    targets: HashMap<String, Arc<Target>>,
    entries: BTreeMap<String, Entry>,
    stopped: bool,
}

enum Entry {
    Running {
        operation: Arc<dyn Operation>,
        task: AbortOnDropHandle<()>,
    },
    /// It is in the store, but can not run.
    Broken {
        stored: Box<v1::Operation>,
        problem: Problem,
    },
}

impl Operations {
    /// Begins to follow the roster. To be called within a Tokio runtime.
    pub fn start(port: Arc<dyn Port>, store: Store, clock: WallClock) -> Self {
        let mut roster = port.roster();
        let shared = Arc::new(Shared { port, clock, state: Mutex::default() });
        let follower = Arc::clone(&shared);
        let follow = task::spawn(OnPanic::Abort, async move {
            while let Some(change) = roster.next().await {
                follower.state(|state| state.apply(change));
            }
        });
        Self {
            shared,
            store,
            changes: tokio::sync::Mutex::default(),
            _roster: AbortOnDropHandle::new(follow),
        }
    }

    /// Starts what the store holds. One that can not run is listed with its problem; the others start.
    ///
    /// # Errors
    /// The store can not be read.
    pub async fn start_stored(&self) -> Result<(), Problem> {
        let _turn = self.changes.lock().await;
        for stored in self.store.operations().await? {
            let name = stored.name.clone();
            match self.shared.build(stored.clone()) {
                Ok((_, operation)) => self.shared.run(name, operation),
                Err(problem) => {
                    tracing::error!(
                        operation = name,
                        code = problem.code.number(),
                        error = problem.message,
                        "Operation can not start."
                    );
                    self.shared.state(|state| {
                        state.entries.insert(name, Entry::Broken { stored: Box::new(stored), problem })
                    });
                }
            }
        }
        Ok(())
    }

    /// One entry for each operation, ordered by name. One that fails gives its problem, the others answer.
    pub fn list(&self) -> Vec<OperationStatus> {
        self.shared.state(|state| state.entries.values().map(Entry::status).collect())
    }

    /// Starts an operation, in place of the one of that name. It is in the store before it runs.
    ///
    /// # Errors
    /// A value that can not be used (the problem names its field), too many operations, a store that can not
    /// be written, a server that is stopping. Nothing has changed then.
    pub async fn put(&self, operation: v1::Operation) -> Result<OperationStatus, Problem> {
        let _turn = self.changes.lock().await;
        let (stored, operation) = self.shared.build(operation)?;
        let name = stored.name.clone();
        self.shared.state(|state| state.admit(&name, stored.selector.as_ref()))?;
        self.store.put_operation(&stored).await?;
        self.shared.run(name.clone(), Arc::clone(&operation));
        self.shared.tell(&name, false);
        Ok(operation.status())
    }

    /// Ends an operation. Faults that it began go on to their own end.
    ///
    /// # Errors
    /// There is none of that name, or the store can not be written; it goes on then.
    pub async fn delete(&self, name: &str) -> Result<(), Problem> {
        let _turn = self.changes.lock().await;
        if !self.shared.state(|state| state.entries.contains_key(name)) {
            return Err(Problem::new(Code::NoSuchOperation, format!("no operation is named `{name}`"))
                .hint("list them with `kittyctl operation list`"));
        }
        self.store.delete_operation(name).await?;
        self.shared.state(|state| state.entries.remove(name));
        self.shared.tell(name, true);
        Ok(())
    }

    /// Ends all loops, for the server's end: they stay in the store, and none is put any more.
    pub fn shutdown(&self) {
        self.shared.state(|state| {
            state.stopped = true;
            state.entries.clear();
        });
    }
}

impl Shared {
    fn state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// Reads a request: what is to be stored, and the operation itself.
    fn build(&self, mut request: v1::Operation) -> Result<(v1::Operation, Arc<dyn Operation>), Problem> {
        let kind = spec::identify(&mut request)?;
        let stored = v1::Operation { kind: Some(kind.clone()), ..request.clone() };
        let longest = self.port.longest_fault();
        let operation = match kind {
            Wire::Hairball(wire) => self.rounds(request, Hairball::read(wire, longest)?),
            Wire::Scratch(wire) => self.rounds(request, Scratch::read(wire)?),
            Wire::Floop(wire) => self.rounds(request, Floop::read(wire, longest)?),
            Wire::Zoomies(wire) => self.rounds(request, Zoomies::read(wire, longest)?),
            Wire::Yowl(wire) => self.rounds(request, Yowl::read(wire, longest)?),
            Wire::Groom(_) => self.rounds(request, Groom),
        }?;
        Ok((stored, operation))
    }

    fn rounds<K: Kind>(&self, request: v1::Operation, kind: K) -> Result<Arc<dyn Operation>, Problem> {
        let spec = Spec::read::<K>(request, rand::random())?;
        Ok(Arc::new(Rounds::new(spec, kind, Arc::clone(&self.port), Arc::clone(&self.clock))))
    }

    /// Runs an operation in place of the one of that name, which ends first.
    fn run(self: &Arc<Self>, name: String, operation: Arc<dyn Operation>) {
        self.state(|state| {
            if state.stopped {
                return;
            }
            state.entries.remove(&name);
            state.targets.values().for_each(|target| operation.register(target));
            let (shared, runs) = (Arc::downgrade(self), Arc::clone(&operation));
            let task = task::spawn(OnPanic::End, async move {
                if let Err(panic) = task::caught(Arc::clone(&runs).run()).await
                    && let Some(shared) = shared.upgrade()
                {
                    shared.broke(&runs, &panic);
                }
            });
            let task = AbortOnDropHandle::new(task);
            state.entries.insert(name, Entry::Running { operation, task });
        });
    }

    /// A defect ended an operation's loop: it is listed with that until it is put again.
    fn broke(&self, broken: &Arc<dyn Operation>, panic: &str) {
        let stored = broken.status().operation.unwrap_or_default();
        self.state(|state| {
            let Some(entry) = state.entries.get_mut(&stored.name) else { return };
            if matches!(entry, Entry::Running { operation, .. } if Arc::ptr_eq(operation, broken)) {
                let problem = Problem::internal(format!("its loop panicked: {panic}"));
                *entry = Entry::Broken { stored: Box::new(stored.clone()), problem };
            }
        });
    }

    fn tell(&self, name: &str, deleted: bool) {
        let what = if deleted { "deleted" } else { "put" };
        let changed = event::OperationChanged { operation: name.to_owned(), deleted };
        tracing::info!(operation = name, "Operation {what}.");
        self.port.emit(event::Kind::OperationChanged(changed), format!("operation {name} {what}"));
    }
}

impl State {
    fn apply(&mut self, change: RosterChange) {
        match change {
            RosterChange::Upserted(target) => self.register(target),
            RosterChange::Removed(id) => self.remove(&id),
            RosterChange::All(targets) => {
                let present: HashSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
                let gone: Vec<String> =
                    self.targets.keys().filter(|id| !present.contains(id.as_str())).cloned().collect();
                gone.iter().for_each(|id| self.remove(id));
                targets.into_iter().for_each(|target| self.register(target));
            }
        }
    }

    fn register(&mut self, target: Arc<Target>) {
        self.running().for_each(|operation| operation.register(&target));
        self.targets.insert(target.id.clone(), target);
    }

    fn remove(&mut self, id: &str) {
        self.running().for_each(|operation| operation.remove(id));
        self.targets.remove(id);
    }

    fn running(&self) -> impl Iterator<Item = &Arc<dyn Operation>> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Running { operation, .. } => Some(operation),
            Entry::Broken { .. } => None,
        })
    }

    /// Whether an operation of that name and selector may be put now.
    fn admit(&self, name: &str, selector: Option<&Selector>) -> Result<(), Problem> {
        if self.stopped {
            return Err(Problem::new(
                Code::Stopping,
                format!("operation `{name}` was not put: the server is stopping"),
            ));
        }
        if self.entries.len() >= MOST && !self.entries.contains_key(name) {
            return Err(Problem::new(Code::LimitReached, format!("{MOST} operations are put already"))
                .hint("delete one with `kittyctl operation delete NAME`"));
        }
        selector.map_or(Ok(()), |selector| self.unambiguous(selector))
    }

    /// A group is named together with its platform, where several have one of that name.
    fn unambiguous(&self, selector: &Selector) -> Result<(), Problem> {
        let group = &selector.aggregation_identifier;
        if group.is_empty() || !selector.platform_type.is_empty() {
            return Ok(());
        }
        let members = self.targets.values().filter(|target| target.aggregation_identifier == *group);
        let platforms: BTreeSet<&str> = members.map(|target| target.platform_type.as_str()).collect();
        if platforms.len() > 1 {
            let platforms = platforms.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Problem::new(Code::Ambiguous, format!("group `{group}` exists on {platforms}"))
                .hint("name the platform in the selector too"));
        }
        Ok(())
    }
}

impl Entry {
    fn status(&self) -> OperationStatus {
        match self {
            Self::Running { operation, task } => {
                let ended =
                    || Problem::internal("the operation's task has ended").hint("put the operation again");
                OperationStatus { problem: task.is_finished().then(|| ended().into()), ..operation.status() }
            }
            Self::Broken { stored, problem } => OperationStatus {
                operation: Some(v1::Operation::clone(stored)),
                kind: stored.kind.as_ref().map(super::kind::name_of).unwrap_or_default().to_owned(),
                problem: Some(problem.clone().into()),
                ..OperationStatus::default()
            },
        }
    }
}
