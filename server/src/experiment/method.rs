//! Methods: what is done to a target, how it is seen to be well again, and how it is put back.

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{
        Action, AllocateMemory, Delay, ExperimentMethod, Kill, MethodParameters, RaiseError, RunScript,
        SpinCpu, Target, TriggerGc, action::Kind, experiment_type::Name as Type,
        method_parameters::Kind as Parameters,
    },
};

use super::Settings;
use crate::{action::Script, fleet::PLATFORMS};

/// How a target is seen to be well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Its platform finds it well.
    Normal,
    /// This life of it is over, and its group is as large as it was.
    Recycled,
    /// Its script's health check exits with 0.
    Script,
}

/// A built-in method.
struct BuiltIn {
    name: &'static str,
    kind: Type,
    /// Platforms that have targets which can take it.
    platforms: &'static [&'static str],
    health: Health,
    cattle_only: bool,
    /// What it does unless its parameters say otherwise.
    action: fn() -> Kind,
    description: &'static str,
}

const ALL: &[&str] = &PLATFORMS;
const WORKER: &[&str] = &["WorkerPlatform"];
const PROCESSES: &[&str] = &["WorkerPlatform", "ProcessPlatform"];

/// Every built-in method of every platform: one line each.
#[rustfmt::skip]
const BUILT_IN: &[BuiltIn] = &[
    // name, kind, platforms, health, cattle only, action, description
    built_in("delay",          Type::State,    PROCESSES, Health::Normal,   false, delay,  "The target stands still"),
    built_in("killProcess",    Type::State,    PROCESSES, Health::Recycled, true,  kill,   "The target's main process is ended by SIGTERM"),
    built_in("allocateMemory", Type::Resource, ALL,       Health::Normal,   false, memory, "Memory is allocated and held on the target's account"),
    built_in("spinCpu",        Type::Resource, ALL,       Health::Normal,   false, cpu,    "All processor time that the target may use is burnt"),
    built_in("triggerGc",      Type::Resource, PROCESSES, Health::Normal,   false, gc,     "The target's garbage collector runs"),
    built_in("raiseError",     Type::Network,  WORKER,    Health::Normal,   false, error,  "The requests that the worker SDK guards fail"),
];

/// A line of the table.
const fn built_in(
    name: &'static str,
    kind: Type,
    platforms: &'static [&'static str],
    health: Health,
    cattle_only: bool,
    action: fn() -> Kind,
    description: &'static str,
) -> BuiltIn {
    BuiltIn { name, kind, platforms, health, cattle_only, action, description }
}

/// Bytes that `allocateMemory` holds unless it is told otherwise.
const MEMORY: u64 = 256 << 20;

fn delay() -> Kind {
    Kind::Delay(Delay::default())
}
fn kill() -> Kind {
    Kind::Kill(Kill::default())
}
fn memory() -> Kind {
    Kind::Memory(AllocateMemory { size_bytes: MEMORY })
}
fn cpu() -> Kind {
    Kind::Cpu(SpinCpu::default())
}
fn gc() -> Kind {
    Kind::Gc(TriggerGc {})
}
fn error() -> Kind {
    Kind::Error(RaiseError::default())
}

/// A method with nothing left open but its parameters.
#[derive(Clone, Debug)]
pub struct Method {
    name: String,
    description: String,
    kind: Type,
    /// Platforms whose targets can take it.
    platforms: Vec<String>,
    pub(super) health: Health,
    cattle_only: bool,
    /// What it does unless its parameters say otherwise.
    action: Kind,
    /// Of a script.
    pub(super) script: Option<Commands>,
    minimum: Option<Duration>,
    maximum: Option<Duration>,
}

/// A script's own commands, which are in its header.
#[derive(Clone, Debug)]
pub(super) struct Commands {
    pub(super) hash: String,
    pub(super) heals: bool,
    pub(super) finalizes: bool,
}

impl Method {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of trouble it makes.
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// Whether the target can take it.
    pub fn fits(&self, target: &Target) -> bool {
        self.is_for(&target.platform_type)
            && target.actions.contains(&i32::from(self.action.name()))
            && (target.cattle || !self.cattle_only)
    }

    /// Whether something is to be done when its target is well again.
    pub(super) fn finalizes(&self) -> bool {
        self.script.as_ref().is_some_and(|script| script.finalizes)
    }

    /// Whether targets of the platform can take it.
    pub(super) fn is_for(&self, platform_type: &str) -> bool {
        platform_type.is_empty() || self.platforms.iter().any(|platform| platform == platform_type)
    }

    /// What it does with these parameters, all of which are filled in.
    pub(super) fn action(&self, parameters: &MethodParameters) -> Action {
        let kind = match parameters.kind.clone() {
            Some(Parameters::Delay(delay)) => Kind::Delay(delay),
            Some(Parameters::Kill(kill)) => Kind::Kill(kill),
            Some(Parameters::Memory(memory)) => Kind::Memory(memory),
            Some(Parameters::Cpu(cpu)) => Kind::Cpu(cpu),
            Some(Parameters::Error(error)) => Kind::Error(error),
            Some(Parameters::Script(script)) => Kind::Script(RunScript { name: self.name.clone(), ..script }),
            None => self.action.clone(),
        };
        let holds = !matches!(kind, Kind::Kill(_) | Kind::Gc(_));
        let duration = parameters.maximum_duration.filter(|_| holds);
        Action { duration, kind: Some(kind) }
    }

    /// Parameters with every default filled in.
    ///
    /// # Errors
    /// A value that can not be used; `field` is the parameters' path in the request.
    pub(super) fn parameters(
        &self,
        field: &str,
        given: &MethodParameters,
        suite: Option<Duration>,
        settings: &Settings,
        longest: Duration,
    ) -> Result<MethodParameters, Problem> {
        let read = |name: &str, wire: Option<pbjson_types::Duration>| time(&format!("{field}.{name}"), wire);
        let asked = read("maximum_duration", given.maximum_duration)?.or(suite);
        let maximum = asked.or(self.maximum).unwrap_or(settings.maximum);
        if maximum.is_zero() || maximum > longest {
            let what =
                format!("{maximum:?} is not above 0 and up to this server's longest fault of {longest:?}");
            return Err(Problem::invalid(&format!("{field}.maximum_duration"), what));
        }
        let minimum = match read("minimum_duration", given.minimum_duration)? {
            Some(minimum) if minimum > maximum => {
                let what = format!("{minimum:?} is over the maximum duration of {maximum:?}");
                return Err(Problem::invalid(&format!("{field}.minimum_duration"), what));
            }
            Some(minimum) => minimum,
            None => self.minimum.unwrap_or(settings.minimum).min(maximum),
        };
        let finalization =
            read("finalization_duration", given.finalization_duration)?.unwrap_or(settings.finalization);
        let interval = read("self_healing_interval", given.self_healing_interval)?
            .unwrap_or(settings.self_healing_interval);
        if let Some(kind) = &given.kind
            && !self.takes(kind)
        {
            let what = format!("{} does something else", self.name);
            return Err(Problem::invalid(field, what).hint(format!(
                "leave it out, or give the parameters of its action, {}",
                self.action.name().word()
            )));
        }
        Ok(MethodParameters {
            minimum_duration: Some(minimum.into()),
            maximum_duration: Some(maximum.into()),
            finalization_duration: Some(finalization.into()),
            self_healing_interval: Some(interval.into()),
            self_healing_retries: Some(given.self_healing_retries.unwrap_or(settings.self_healing_retries)),
            kind: given.kind.clone().or_else(|| own(&self.action)),
        })
    }

    fn takes(&self, kind: &Parameters) -> bool {
        matches!(
            (kind, &self.action),
            (Parameters::Delay(_), Kind::Delay(_))
                | (Parameters::Kill(_), Kind::Kill(_))
                | (Parameters::Memory(_), Kind::Memory(_))
                | (Parameters::Cpu(_), Kind::Cpu(_))
                | (Parameters::Error(_), Kind::Error(_))
                | (Parameters::Script(_), Kind::Script(_))
        )
    }

    /// As the contract writes it.
    pub(super) fn wire(&self, settings: &Settings) -> ExperimentMethod {
        let given = MethodParameters::default();
        let defaults = self.parameters("defaults", &given, None, settings, Duration::MAX).ok();
        ExperimentMethod {
            name: self.name.clone(),
            description: self.description.clone(),
            experiment_type: self.kind.into(),
            platform_types: self.platforms.clone(),
            cattle_only: self.cattle_only,
            script: self.script.as_ref().map(|_| self.name.clone()).unwrap_or_default(),
            defaults,
        }
    }

    /// A method that there is no more, for the experiments of it that are not over: they are reverted, and judged by
    /// what their platform says.
    pub(super) fn forgotten(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            kind: Type::Unspecified,
            platforms: Vec::new(),
            health: Health::Normal,
            cattle_only: true,
            action: gc(),
            script: None,
            minimum: None,
            maximum: None,
        }
    }

    /// A script as a method.
    fn of_script(script: &Script) -> Self {
        let header = &script.header;
        Self {
            name: script.name.clone(),
            description: header.description.clone(),
            kind: header.experiment_type,
            platforms: ALL.iter().map(|&platform| platform.to_owned()).collect(),
            health: if header.remedy.is_some() { Health::Script } else { Health::Recycled },
            cattle_only: header.is_cattle_only(),
            action: Kind::Script(RunScript { name: script.name.clone(), ..RunScript::default() }),
            script: Some(Commands {
                hash: script.hash.clone(),
                heals: header.remedy.is_some(),
                finalizes: header.finalize.is_some(),
            }),
            minimum: header.minimum_duration,
            maximum: header.maximum_duration,
        }
    }
}

impl From<&BuiltIn> for Method {
    fn from(line: &BuiltIn) -> Self {
        Self {
            name: line.name.to_owned(),
            description: line.description.to_owned(),
            kind: line.kind,
            platforms: line.platforms.iter().map(|&platform| platform.to_owned()).collect(),
            health: line.health,
            cattle_only: line.cattle_only,
            action: (line.action)(),
            script: None,
            minimum: None,
            maximum: None,
        }
    }
}

fn own(action: &Kind) -> Option<Parameters> {
    match action.clone() {
        Kind::Delay(delay) => Some(Parameters::Delay(delay)),
        Kind::Kill(kill) => Some(Parameters::Kill(kill)),
        Kind::Memory(memory) => Some(Parameters::Memory(memory)),
        Kind::Cpu(cpu) => Some(Parameters::Cpu(cpu)),
        Kind::Error(error) => Some(Parameters::Error(error)),
        Kind::Script(script) => Some(Parameters::Script(script)),
        Kind::Gc(_) => None,
    }
}

/// A time of nothing or more.
pub(super) fn time(field: &str, wire: Option<pbjson_types::Duration>) -> Result<Option<Duration>, Problem> {
    let Some(wire) = wire else { return Ok(None) };
    let time = Duration::try_from(wire).map_err(|_| Problem::invalid(field, "it is no time span"))?;
    Ok(Some(time))
}

/// All methods: the built-in ones and the scripts, ordered by name.
#[derive(Clone, Debug)]
pub struct Methods(Vec<Arc<Method>>);

impl Methods {
    /// The table, and these scripts.
    pub(super) fn new(scripts: &[Arc<Script>]) -> Self {
        let built_in = BUILT_IN.iter().map(Method::from);
        let mut all: Vec<_> =
            built_in.chain(scripts.iter().map(|script| Method::of_script(script))).map(Arc::new).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Self(all)
    }

    /// The method of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Method>> {
        self.0.iter().find(|method| method.name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.0.iter()
    }

    /// Names of those that targets of the platform can take.
    pub(super) fn names(&self, platform_type: &str) -> Vec<&str> {
        self.iter().filter(|method| method.is_for(platform_type)).map(|method| method.name()).collect()
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::action_kind::Name;

    use super::*;

    fn method(name: &str) -> Arc<Method> {
        Methods::new(&[]).get(name).unwrap().clone()
    }

    fn filled(given: &MethodParameters, suite: Option<Duration>) -> Result<MethodParameters, Problem> {
        method("delay").parameters("p", given, suite, &Settings::default(), Duration::from_secs(3600))
    }

    fn seconds(seconds: u64) -> Option<pbjson_types::Duration> {
        Some(Duration::from_secs(seconds).into())
    }

    #[test]
    fn names_are_unique_and_every_method_says_what_it_does() {
        let methods = Methods::new(&[]);
        let mut names: Vec<_> = methods.iter().map(|method| method.name()).collect();
        names.dedup();
        assert_eq!(names.len(), BUILT_IN.len());
        assert!(methods.iter().all(|method| !method.description.is_empty()));
    }

    #[test]
    fn what_ends_a_target_is_for_cattle_only() {
        for method in Methods::new(&[]).iter() {
            assert_eq!(method.health == Health::Recycled, method.cattle_only, "{}", method.name());
        }
    }

    #[test]
    fn parameters_are_the_methods_then_the_suites_then_the_servers() {
        let defaults = filled(&MethodParameters::default(), None).unwrap();
        assert_eq!((defaults.minimum_duration, defaults.maximum_duration), (seconds(30), seconds(300)));
        let suite = filled(&MethodParameters::default(), Some(Duration::from_secs(10))).unwrap();
        assert_eq!((suite.minimum_duration, suite.maximum_duration), (seconds(10), seconds(10)));
        let own = MethodParameters { maximum_duration: seconds(40), ..MethodParameters::default() };
        let own = filled(&own, Some(Duration::from_secs(10))).unwrap();
        assert_eq!((own.minimum_duration, own.maximum_duration), (seconds(30), seconds(40)));
    }

    #[test]
    fn what_can_not_be_used_is_named_by_its_field() {
        let kill = Some(Parameters::Kill(Kill::default()));
        for (given, field) in [
            (MethodParameters { maximum_duration: seconds(0), ..Default::default() }, "p.maximum_duration"),
            (
                MethodParameters { maximum_duration: seconds(3601), ..Default::default() },
                "p.maximum_duration",
            ),
            (MethodParameters { minimum_duration: seconds(301), ..Default::default() }, "p.minimum_duration"),
            (MethodParameters { kind: kill, ..Default::default() }, "p: delay does something else"),
        ] {
            let problem = filled(&given, None).unwrap_err();
            assert!(problem.message.contains(field), "{problem}");
        }
    }

    #[test]
    fn what_is_held_is_armed_for_the_maximum_duration_and_a_kill_has_none() {
        let parameters = filled(&MethodParameters::default(), None).unwrap();
        assert_eq!(method("delay").action(&parameters).duration, seconds(300));
        let kill = method("killProcess");
        let parameters = kill
            .parameters(
                "p",
                &MethodParameters::default(),
                None,
                &Settings::default(),
                Duration::from_secs(3600),
            )
            .unwrap();
        assert_eq!(kill.action(&parameters).duration, None);
    }

    #[test]
    fn pets_are_left_alone_by_what_is_for_cattle() {
        let pet = Target {
            platform_type: "ProcessPlatform".to_owned(),
            actions: vec![Name::Kill.into(), Name::Delay.into()],
            ..Target::default()
        };
        assert!(!method("killProcess").fits(&pet));
        assert!(method("delay").fits(&pet));
        assert!(!method("spinCpu").fits(&pet), "its platform does not offer it");
        assert!(method("killProcess").fits(&Target { cattle: true, ..pet }));
    }
}
