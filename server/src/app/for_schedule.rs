//! What the schedule sees of the rest.

use std::sync::Arc;

use chaos_kitty::{
    Code, Problem,
    v1::{BuildExperimentResponse, ExperimentMethod, Selector, Target},
};
use futures_util::future::BoxFuture;

use crate::{
    experiment::{self, Automatic, Experiments},
    fleet::Fleet,
    safety::{Admin, Gate},
    schedule::{Activity, Drawn, Pick, Port, identity},
};

/// See the module.
pub(super) struct ForSchedule {
    pub(super) fleet: Arc<Fleet>,
    pub(super) gate: Arc<Gate>,
    pub(super) admin: Arc<Admin>,
    pub(super) experiments: Arc<Experiments>,
}

impl Port for ForSchedule {
    fn platforms(&self) -> Vec<String> {
        self.fleet.platform_types()
    }

    fn roster(&self, platform_type: &str) -> Vec<Arc<Target>> {
        let selector = Selector { platform_type: platform_type.to_owned(), ..Selector::default() };
        self.fleet.roster(&selector).unwrap_or_default()
    }

    fn spared(&self, targets: &[Arc<Target>]) -> Vec<bool> {
        self.gate.standing(targets).into_iter().map(|standing| standing.is_spared).collect()
    }

    fn methods(&self, target: &Target) -> Vec<ExperimentMethod> {
        self.experiments.drawn_for(target)
    }

    fn activity(&self) -> Activity {
        Activity { running: self.experiments.count() > 0, ended: self.experiments.last_ended() }
    }

    fn admits(&self) -> Result<(), Problem> {
        self.admin.admits()
    }

    fn resolve(&self, target: &str) -> Result<Arc<Target>, Problem> {
        match (self.fleet.resolve(target), target.parse::<u32>()) {
            (Err(unknown), Ok(number)) if unknown.code == Code::NoSuchTarget => {
                self.numbered(number).ok_or(unknown)
            }
            (resolved, _) => resolved,
        }
    }

    fn start(&self, drawn: Drawn) -> BoxFuture<'static, Result<BuildExperimentResponse, Problem>> {
        let experiments = Arc::clone(&self.experiments);
        Box::pin(async move {
            let method = |Pick { target, method }: Pick| {
                let method = experiments.methods().get(&method).cloned();
                method.map(|method| experiment::Pick { target, method })
            };
            let picks = drawn.picks.into_iter().filter_map(method).collect();
            let Drawn { platform_type, seed, .. } = drawn;
            experiments.build_automatic(Automatic { platform_type, picks, seed }).await
        })
    }
}

impl ForSchedule {
    /// The only target of this number.
    fn numbered(&self, number: u32) -> Option<Arc<Target>> {
        let all = self.fleet.roster(&Selector::default()).unwrap_or_default();
        let mut found = all.into_iter().filter(|target| identity(target) == number);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}
