//! What an application says about itself before it becomes a target.

use std::collections::BTreeMap;

use chaos_kitty::{
    Problem,
    client::TlsFiles,
    endpoint::Endpoint,
    hello::{check_hello, check_id},
    limits,
    v1::{Hello, action_kind::Name as Kind, agent_role::Name as Role},
};
use tokio::runtime::Handle;

use crate::{
    GcFigures, Points, Worker,
    action::gc::{self, Collector},
    control::Setup,
    procfs,
};

/// Hex digits that set the processes of one name apart.
const SUFFIX: usize = 8;

/// Describes a worker. Made by [`Worker::builder`].
#[derive(Debug)]
#[must_use = "nothing happens before connect()"]
pub struct Builder {
    name: String,
    group: String,
    labels: BTreeMap<String, String>,
    cattle: bool,
    executor: Option<Handle>,
    collector: Option<Collector>,
    points: Points,
    tls: TlsFiles,
}

impl Builder {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            group: String::new(),
            labels: BTreeMap::new(),
            cattle: false,
            executor: None,
            collector: None,
            points: Points::process(),
            tls: TlsFiles::default(),
        }
    }

    /// The group of interchangeable targets it belongs to. Default: none.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// A label to select it by. The last value of a key stands.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Something recreates it when it dies. Default: no.
    pub fn cattle(mut self, cattle: bool) -> Self {
        self.cattle = cattle;
        self
    }

    /// The executor that `delay` blocks. Default: the runtime in which `connect` is called, if any.
    pub fn executor(mut self, executor: Handle) -> Self {
        self.executor = Some(executor);
        self
    }

    /// The collector that `gc` runs. Default: glibc's `malloc_trim`.
    pub fn on_gc(mut self, collect: impl Fn() -> GcFigures + Send + Sync + 'static) -> Self {
        self.collector = Some(Collector(Box::new(collect)));
        self
    }

    /// The guarded points that it acts on. Default: the process's own.
    pub fn points(mut self, points: &Points) -> Self {
        self.points = points.clone();
        self
    }

    /// Certificates, for an `https://` server.
    pub fn tls(mut self, tls: TlsFiles) -> Self {
        self.tls = tls;
        self
    }

    /// Attaches to the server that `KITTY_SERVER` names, else to `./chaos_kitty.ipc`, the local agent's
    /// socket, or the system's. A server that is not there is no error: the worker goes on trying.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::InvalidArgument`] for a name, group or label that can not be used,
    /// [`chaos_kitty::Code::Usage`] for a malformed `KITTY_SERVER`.
    pub fn connect(self) -> Result<Worker, Problem> {
        let endpoint = Endpoint::lookup(None, true)?;
        self.connect_to(endpoint)
    }

    /// As [`Self::connect`], to this server or agent.
    ///
    /// # Errors
    /// [`chaos_kitty::Code::InvalidArgument`] for a name, group or label that can not be used.
    pub fn connect_to(self, endpoint: Endpoint) -> Result<Worker, Problem> {
        check_id("name", &self.name)?;
        if self.labels.keys().any(String::is_empty) {
            return Err(Problem::invalid("labels", "a key is empty"));
        }
        let hello = self.hello();
        check_hello(&hello)?;
        let executor = self.executor.or_else(|| Handle::try_current().ok());
        Worker::start(Setup {
            endpoint,
            tls: self.tls,
            hello,
            name: self.name,
            executor,
            collector: self.collector,
            points: self.points,
        })
    }

    fn hello(&self) -> Hello {
        let all = [Kind::Delay, Kind::Kill, Kind::Memory, Kind::Cpu, Kind::Gc, Kind::Error];
        let can = |kind: &Kind| *kind != Kind::Gc || gc::supported(self.collector.is_some());
        let unique = uuid::Uuid::new_v4().simple().to_string();
        Hello {
            agent_id: format!("{}-{}", self.name, &unique[..SUFFIX]),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: procfs::boot_id(),
            labels: self.labels.clone(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            role: Role::Worker.into(),
            group: self.group.clone(),
            name: self.name.clone(),
            cattle: self.cattle,
            actions: all.into_iter().filter(can).map(Into::into).collect(),
            ..Default::default()
        }
    }
}
