//! The way to the service manager over D-Bus, and to one service through it.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use chaos_kitty::{Code, Problem, signal::Signal};
use chaos_kitty_guard::{Process, Undo};
use futures_util::{
    future::FutureExt,
    stream::{BoxStream, StreamExt},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use zbus::{
    Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Type, connection::Builder, message,
};

use super::health::{Properties, Service};
use crate::platform::supervisor::{Answer, Standing, Stopping, Supervisor};

const NAME: &str = "org.freedesktop.systemd1";
const ROOT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Where the objects of units are.
pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit";

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for a unit to end or start.
const JOB: Duration = Duration::from_secs(110);

/// Signals that may wait to be taken in.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Where the program is that starts a unit.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// A connection to this host's systemd.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    bus: Connection,
}

impl Manager {
    /// Connects to the system's bus, and asks to be told of changes.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub(super) async fn connect() -> Result<Self, String> {
        let built = Builder::system().method_timeout(PATIENCE).max_queued(QUEUE).build().await;
        let bus = built.map_err(|error| {
            format!("the system's D-Bus: {error}: systemd with a D-Bus daemon has to run on this host")
        })?;
        let manager = Self { bus };
        manager.manage::<()>("Subscribe", &()).await.map_err(|error| broken(&error))?;
        Ok(manager)
    }

    /// systemd's version.
    pub(super) async fn version(&self) -> Result<String, String> {
        let version: zbus::Result<OwnedVariant> =
            self.call(ROOT, PROPERTIES, "Get", &(MANAGER, "Version")).await;
        let version = version.map_err(|error| broken(&error))?;
        Ok(<&str>::try_from(&version).unwrap_or_default().to_owned())
    }

    /// The paths of all units that are loaded.
    pub(super) async fn units(&self) -> Result<Vec<String>, String> {
        /// Name, description, load state, active state, sub state, followed unit, path, then its job.
        type Unit =
            (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let listed: zbus::Result<Vec<Unit>> = self.manage("ListUnits", &()).await;
        Ok(listed.map_err(|error| broken(&error))?.into_iter().map(|unit| unit.6.to_string()).collect())
    }

    /// What is known of the service at a path. `None`: there is no such unit any more.
    pub(super) async fn service(&self, path: &str) -> Result<Option<Service>, String> {
        let mut all = Properties::new();
        for interface in ["org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"] {
            match self.call::<_, Properties>(path, PROPERTIES, "GetAll", &(interface,)).await {
                Ok(properties) => all.extend(properties),
                Err(zbus::Error::MethodError(..) | zbus::Error::FDO(_)) => return Ok(None),
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(Some(Service::of(&all)))
    }

    /// What is said of units: their properties changed, they came, went, or were all read anew. The stream has to
    /// be taken from all the time, or calls over this connection get no answers.
    pub(super) async fn signals(&self) -> Result<BoxStream<'static, zbus::Result<zbus::Message>>, String> {
        let signal = || MatchRule::builder().msg_type(message::Type::Signal).sender(NAME);
        let rules = async {
            let properties = signal().interface(PROPERTIES).path_namespace(UNITS).build()?;
            let units = signal().interface(MANAGER).path(ROOT).build()?;
            let properties = MessageStream::for_match_rule(properties, &self.bus, Some(QUEUE)).await?;
            let units = MessageStream::for_match_rule(units, &self.bus, Some(QUEUE)).await?;
            zbus::Result::Ok(futures_util::stream::select(properties, units).boxed())
        };
        rules.await.map_err(|error| broken(&error))
    }

    /// Whether a unit runs, by its name.
    async fn runs(&self, unit: &str) -> bool {
        let Ok(path) = self.manage::<OwnedObjectPath>("GetUnit", &(unit,)).await else { return false };
        let what = ("org.freedesktop.systemd1.Unit", "ActiveState");
        let state: zbus::Result<OwnedVariant> = self.call(&path, PROPERTIES, "Get", &what).await;
        state.is_ok_and(|state| matches!(<&str>::try_from(&state), Ok("active" | "activating" | "reloading")))
    }

    async fn manage<R: DeserializeOwned + Type>(
        &self,
        method: &str,
        body: &(impl Serialize + Type),
    ) -> zbus::Result<R> {
        self.call(ROOT, MANAGER, method, body).await
    }

    async fn call<B: Serialize + Type, R: DeserializeOwned + Type>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> zbus::Result<R> {
        self.bus.call_method(Some(NAME), path, Some(interface), method, body).await?.body().deserialize()
    }

    /// Orders a job of a unit, and waits for its end.
    async fn job(&self, method: &str, unit: &str) -> Result<(), Problem> {
        let refused = |error: &zbus::Error| refused(method, unit, error);
        let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(NAME);
        let rule = rule.interface(MANAGER).member("JobRemoved").build().map_err(|error| refused(&error))?;
        let ends = MessageStream::for_match_rule(rule, &self.bus, Some(QUEUE)).await;
        let mut ends = ends.map_err(|error| refused(&error))?;
        let job: zbus::Result<OwnedObjectPath> = self.manage(method, &(unit, "replace")).await;
        let job = job.map_err(|error| refused(&error))?;
        while let Some(end) = ends.next().await {
            let end = end.map_err(|error| refused(&error))?;
            let body = end.body();
            let said = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
            let (_, ended, _, result) = said.map_err(|error| refused(&error))?;
            if ended == job && result == "done" {
                return Ok(());
            }
            if ended == job {
                let what = format!("{method} of {unit}: its job ended with {result:?}");
                return Err(Problem::new(Code::SupervisorRefused, what)
                    .hint(format!("systemctl status {unit}; journalctl --unit {unit}")));
            }
        }
        Err(Problem::new(Code::SupervisorRefused, format!("{method} of {unit}: D-Bus closed the connection")))
    }
}

fn broken(error: &zbus::Error) -> String {
    format!("systemd over D-Bus: {error}")
}

fn refused(what: &str, unit: &str, error: &zbus::Error) -> Problem {
    let message = format!("{what} of {unit}: {error}");
    match error {
        zbus::Error::MethodError(name, ..) if name.ends_with("NoSuchUnit") => {
            Problem::new(Code::TargetGone, message)
        }
        zbus::Error::FDO(error) if matches!(**error, zbus::fdo::Error::AccessDenied(_)) => {
            Problem::new(Code::PolicyForbids, message).hint("run the agent as root")
        }
        _ => Problem::new(Code::SupervisorRefused, message)
            .hint(format!("systemctl status {unit}; journalctl --unit {unit}")),
    }
}

/// One service.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) path: String,
}

impl Unit {
    /// Over a connection of its own: it may wait for long, and must not hold up who looks at all services.
    async fn job(&self, method: &str) -> Result<(), Problem> {
        let job = async {
            let manager =
                Manager::connect().await.map_err(|why| Problem::new(Code::SupervisorRefused, why))?;
            manager.job(method, &self.name).await
        };
        timeout(JOB, job).await.unwrap_or_else(|_| {
            let what = format!("{method} of {} is not over after {JOB:?}", self.name);
            Err(Problem::new(Code::NoAnswer, what).hint(format!("systemctl status {}", self.name)))
        })
    }
}

impl Supervisor for Unit {
    fn kill(&self, signal: Signal, all: bool) -> Answer<'_, ()> {
        async move {
            let manager =
                Manager::connect().await.map_err(|why| Problem::new(Code::SupervisorRefused, why))?;
            let whom = if all { "all" } else { "main" };
            let killed = manager.manage::<()>("KillUnit", &(&*self.name, whom, signal.number)).await;
            killed.map_err(|error| refused("KillUnit", &self.name, &error))
        }
        .boxed()
    }

    fn restart(&self) -> Answer<'_, ()> {
        self.job("RestartUnit").boxed()
    }

    fn stop(&self, kill: bool) -> Answer<'_, ()> {
        async move {
            if kill {
                self.kill(Signal::KILL, true).await?;
            }
            self.job("StopUnit").await
        }
        .boxed()
    }

    /// A start takes the place of a stop that is under way, so that both are undone alike.
    fn undo_stop(&self, _: Stopping, along: &[String]) -> Result<Undo, Problem> {
        let systemctl = SYSTEMCTL.into_iter().find(|path| Path::new(path).exists()).ok_or_else(|| {
            Problem::new(Code::MissingDependency, format!("none of {} is there", SYSTEMCTL.join(", ")))
                .hint("without it the guard could not start the unit again")
        })?;
        let argv = [systemctl, "--no-block", "start", &self.name].map(str::to_owned).into_iter();
        Ok(Undo::Run { argv: argv.chain(along.iter().cloned()).collect(), limit: PATIENCE })
    }

    fn look(&self) -> Answer<'_, Standing> {
        async {
            let unseen = |why| Problem::new(Code::SupervisorRefused, why);
            let manager = Manager::connect().await.map_err(unseen)?;
            let service = manager.service(&self.path).await.map_err(unseen)?.unwrap_or_default();
            let main = service.main_pid().and_then(Process::now);
            let vanishes = service.vanishes(|file| Path::new(file).exists());
            let mut along = Vec::new();
            for unit in service.dependents() {
                if manager.runs(unit).await {
                    along.push(unit.to_owned());
                }
            }
            Ok(Standing { state: service.words(), main, along, vanishes })
        }
        .boxed()
    }
}
