//! Methods: what is done to a target, how it is seen to be well again, and how it is put back.

mod automated;
mod table;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use chaos_kitty::{
    Problem,
    v1::{
        Action, ExperimentMethod, MethodParameters, RunScript, Target, TriggerGc, action::Kind,
        action_kind::Name, experiment_type::Name as Type, method_parameters::Kind as Parameters,
    },
};

use super::Settings;
use crate::{action::Script, fleet::PLATFORMS};
use table::BUILT_IN;

pub use automated::Automated;

/// How a target is seen to be well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Its platform finds it well.
    Normal,
    /// This life of it is over, and its group is as large as it was.
    Recycled,
    /// Its group is as large as it was, whether or not with this life of it.
    Complete,
    /// Its script's health check exits with 0.
    Script,
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
    /// It may harm more than its target.
    harms_host: bool,
    /// What it does unless its parameters say otherwise.
    action: Kind,
    /// Of a script.
    pub(super) script: Option<Commands>,
    source: Option<Arc<Script>>,
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
            && self.actions().all(|action| target.actions.contains(&i32::from(action)))
            && (target.cattle || !self.cattle_only)
    }

    /// What the target must be able to take: to be stopped by a kill is both.
    fn actions(&self) -> impl Iterator<Item = Name> {
        let kills = matches!(&self.action, Kind::Stop(stop) if stop.kill);
        [self.action.name()].into_iter().chain(kills.then_some(Name::Kill))
    }

    /// Whether it can work there, by what its agent told of it and what was found missing there.
    pub(super) fn works_on(&self, target: &Target, missing: &[String]) -> bool {
        self.source.as_ref().is_none_or(|script| script.works_on(target, missing))
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
            Some(Parameters::Scale(scale)) => Kind::Scale(scale),
            Some(Parameters::Script(script)) => Kind::Script(RunScript { name: self.name.clone(), ..script }),
            None => self.action.clone(),
        };
        let duration = parameters.maximum_duration.filter(|_| kind.is_held());
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
                | (Parameters::Scale(_), Kind::Scale(_))
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
            harms_host: self.harms_host,
            automated: settings.automated.draws(self),
            problem: None,
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
            harms_host: true,
            action: Kind::Gc(TriggerGc {}),
            script: None,
            source: None,
            minimum: None,
            maximum: None,
        }
    }

    /// A script as a method.
    fn of_script(script: &Arc<Script>) -> Self {
        let header = &script.header;
        Self {
            name: script.name.clone(),
            description: header.description.clone(),
            kind: header.experiment_type,
            platforms: PLATFORMS.iter().map(|&platform| platform.to_owned()).collect(),
            health: if header.remedy.is_some() { Health::Script } else { Health::Recycled },
            cattle_only: header.is_cattle_only(),
            harms_host: header.harms_host,
            action: Kind::Script(RunScript { name: script.name.clone(), ..RunScript::default() }),
            script: Some(Commands {
                hash: script.hash.clone(),
                heals: header.remedy.is_some(),
                finalizes: header.finalize.is_some(),
            }),
            source: Some(script.clone()),
            minimum: header.minimum_duration,
            maximum: header.maximum_duration,
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
        Kind::Scale(scale) => Some(Parameters::Scale(scale)),
        Kind::Gc(_) | Kind::Restart(_) | Kind::Stop(_) => None,
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
        let mut all: Vec<_> = built_in.chain(scripts.iter().map(Method::of_script)).map(Arc::new).collect();
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
