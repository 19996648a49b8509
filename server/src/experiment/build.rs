//! From a suite to experiments that are recorded: all of them, or none. They begin at the next tick.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use chaos_kitty::{
    Code, Problem, Timestamp,
    v1::{
        BuildExperimentResponse, Experiment, ExperimentCriteria, ExperimentSuite, MethodParameters,
        SuiteRecord, Target, experiment_state::Name as State, suite_record::Group,
        target_health::State as Health, verdict::Name as Verdict,
    },
};
use uuid::Uuid;

use super::{
    Experiments, Suite, at,
    entry::Entry,
    life, micros,
    plan::{Candidate, Pick, plan},
    port::{Engagement, Wish},
    suite::{self, Wanted},
    watchman,
};
use crate::task::{self, OnPanic};

/// Suites that were built between two prunings of the history.
const PRUNE_EVERY: i64 = 64;

/// A suite that somebody else has chosen the targets of.
#[derive(Clone, Debug)]
pub struct Automatic {
    /// All targets are of it.
    pub platform_type: String,
    /// What to do to whom.
    pub picks: Vec<Pick>,
    /// What the choice was made with.
    pub seed: u64,
}

/// A suite with nothing left open.
struct Plan {
    suite: ExperimentSuite,
    picks: Vec<Pick>,
    parameters: BTreeMap<String, MethodParameters>,
    min_survivors: usize,
    seed: u64,
    automatic: bool,
}

impl Experiments {
    /// Creates the experiments of a suite, all of them or none. With `dry_run` it only says which they would be.
    ///
    /// # Errors
    /// See [`suite::read`] and [`plan`]; [`Code::SuiteRunning`], [`Code::NotAdmitted`], [`Code::Halted`],
    /// [`Code::NotSteady`], and whatever safety refuses with.
    pub async fn build(&self, suite: ExperimentSuite) -> Result<BuildExperimentResponse, Problem> {
        let wanted = suite::read(&suite, &self.methods, &self.settings, self.port.longest_fault())?;
        let _turn = self.building.lock().await;
        if !suite.dry_run {
            self.is_open()?;
        }
        let roster = self.port.roster(&wanted.platform_type)?;
        let candidates = self.candidates(&wanted, &roster);
        let seed = suite.seed.unwrap_or_else(rand::random);
        let picks = plan(&wanted, &candidates, seed).map_err(|problem| self.with_methods(problem, &suite))?;
        let plan = Plan {
            picks,
            parameters: wanted.parameters,
            min_survivors: wanted.min_survivors,
            seed,
            automatic: false,
            suite,
        };
        if plan.suite.dry_run {
            let experiments = plan.picks.iter().map(|pick| self.describe(&plan, pick, None)).collect();
            return Ok(BuildExperimentResponse { experiments, seed, ..Default::default() });
        }
        self.create(plan, &roster).await
    }

    /// Creates experiments on targets that were chosen already, all of them or none.
    ///
    /// # Errors
    /// [`Code::SuiteRunning`], [`Code::NotAdmitted`], [`Code::Halted`], and whatever safety refuses with.
    pub async fn build_automatic(&self, automatic: Automatic) -> Result<BuildExperimentResponse, Problem> {
        let Automatic { platform_type, picks, seed } = automatic;
        let _turn = self.building.lock().await;
        self.is_open()?;
        let mut parameters = BTreeMap::new();
        for method in picks.iter().map(|pick| &pick.method) {
            if !parameters.contains_key(method.name()) {
                let given = MethodParameters::default();
                let longest = self.port.longest_fault();
                let filled = method.parameters(method.name(), &given, None, &self.settings, longest)?;
                parameters.insert(method.name().to_owned(), filled);
            }
        }
        let suite = document(platform_type, &picks, seed);
        let min_survivors = self.settings.min_survivors;
        let roster = self.port.roster(&suite.platform_type)?;
        let plan = Plan { suite, picks, parameters, min_survivors, seed, automatic: true };
        self.create(plan, &roster).await
    }

    /// The roster as a plan needs it. How others than those of the groups in question stand is of no interest.
    fn candidates(&self, wanted: &Wanted, roster: &[Arc<Target>]) -> Vec<Candidate> {
        let groups: HashSet<&str> =
            wanted.criteria.iter().map(|criterion| criterion.group.as_str()).collect();
        let in_question = |target: &&Arc<Target>| groups.contains(target.aggregation_identifier.as_str());
        let asked: Vec<_> = roster.iter().filter(in_question).cloned().collect();
        let mut spared = self.port.spared(&asked).into_iter();
        let candidate = |target: &Arc<Target>| Candidate {
            is_spared: in_question(&target) && spared.next().unwrap_or_default(),
            target: target.clone(),
        };
        roster.iter().map(candidate).collect()
    }

    async fn create(&self, plan: Plan, roster: &[Arc<Target>]) -> Result<BuildExperimentResponse, Problem> {
        watchman::must_be_steady(&*self.port, &plan.suite).await?;
        let key = self.next_key();
        let experiments: Vec<_> =
            plan.picks.iter().map(|pick| self.describe(&plan, pick, Some(key))).collect();
        let wishes: Vec<_> = experiments
            .iter()
            .zip(&plan.picks)
            .map(|(experiment, pick)| Wish { experiment: experiment.id.clone(), target: pick.target.clone() })
            .collect();
        let engagements = self.port.engage(&wishes, plan.min_survivors)?;
        let record = self.record(&plan, key, roster);
        crate::hooks::point("experiment-before-build");
        self.store.put_suite(&record, &experiments).await?;
        crate::hooks::point("experiment-built");
        if key % PRUNE_EVERY == 0 {
            self.store.keep_suites(self.settings.history);
        }
        self.take_in(record, &plan, &experiments, engagements);
        for experiment in &experiments {
            let (kind, message) = super::port::news(experiment);
            self.port.emit(kind, message);
        }
        Ok(BuildExperimentResponse { experiments, suite: Some(at(key)), seed: plan.seed, shortened: 0 })
    }

    /// Whether a suite may begin now.
    fn is_open(&self) -> Result<(), Problem> {
        let admin = self.port.admin();
        if admin.halted {
            return Err(Problem::new(Code::Halted, "the fleet is halted: no experiment is built")
                .hint("kittyctl resume ends the halt"));
        }
        let name = admin.state();
        if name != chaos_kitty::v1::admin_state::Name::Started {
            let message = format!("the administrative state {} takes no new experiment", name.as_str_name());
            return Err(Problem::new(Code::NotAdmitted, message).hint("kittyctl admin state STARTED"));
        }
        let active = self.count();
        if active > 0 && !self.settings.concurrent_suites {
            let message = format!("{active} experiments of another suite are not over");
            return Err(Problem::new(Code::SuiteRunning, message).hint(
                "wait until they are, see `kittyctl experiment list`, or run kittyd with --concurrent-suites",
            ));
        }
        Ok(())
    }

    /// The time of a new suite, later than any before.
    fn next_key(&self) -> i64 {
        let now = micros(Timestamp::from(self.now()));
        let mut state = self.state();
        state.last_suite = now.max(state.last_suite + 1);
        state.last_suite
    }

    /// One experiment as it is created; without a suite's time it is only shown.
    fn describe(&self, plan: &Plan, pick: &Pick, key: Option<i64>) -> Experiment {
        let mut experiment = Experiment {
            id: key.map(|_| Uuid::now_v7().to_string()).unwrap_or_default(),
            container: Some(Target::clone(&pick.target)),
            experiment_type: pick.method.kind().into(),
            experiment_method_name: pick.method.name().to_owned(),
            experiment_layer_name: layer(&pick.target.platform_type),
            suite: key.map(at),
            parameters: plan.parameters.get(pick.method.name()).cloned(),
            ..Experiment::default()
        };
        if key.is_some() {
            let by = if plan.automatic { "by the scheduler" } else { "as it was asked for" };
            let now = self.now();
            experiment.start_time = Some(Timestamp::from(now));
            life::enter(&mut experiment, State::Created, by, now);
        }
        experiment
    }

    /// What is recorded of a suite besides its experiments.
    fn record(&self, plan: &Plan, key: i64, roster: &[Arc<Target>]) -> SuiteRecord {
        let wanted: BTreeSet<&str> =
            plan.picks.iter().map(|pick| pick.target.aggregation_identifier.as_str()).collect();
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for target in roster {
            let name = target.aggregation_identifier.as_str();
            if !name.is_empty() && wanted.contains(name) {
                let group = groups
                    .entry(name)
                    .or_insert_with(|| Group { aggregation_identifier: name.to_owned(), ..Group::default() });
                group.targets.push(target.name.clone());
                group.well += u32::from(target.health() == Health::Normal);
            }
        }
        let of_suite: BTreeSet<&str> = plan.picks.iter().map(|pick| pick.target.agent_id.as_str()).collect();
        let mut agents = self.port.agents();
        agents.retain(|agent| of_suite.contains(agent.id.as_str()));
        let groups = groups.into_values().collect();
        SuiteRecord {
            at: Some(at(key)),
            suite: Some(plan.suite.clone()),
            seed: plan.seed,
            automatic: plan.automatic,
            groups,
            agents,
            verdict: Verdict::Running.into(),
            ..SuiteRecord::default()
        }
    }

    fn take_in(
        &self,
        record: SuiteRecord,
        plan: &Plan,
        experiments: &[Experiment],
        engagements: Vec<Box<dyn Engagement>>,
    ) {
        let key = record.at.map_or(0, micros);
        let entries =
            experiments.iter().zip(&plan.picks).zip(engagements).map(|((experiment, pick), engaged)| {
                let company = company(&record, &pick.target.aggregation_identifier);
                (experiment.id.clone(), Entry::new(experiment.clone(), pick.method.clone(), company, engaged))
            });
        let entries: Vec<_> = entries.collect();
        self.state().active.extend(entries);
        self.take_in_suite(key, experiments.len(), record);
    }

    /// Takes in a suite with so many experiments that are not over, and has its probes looked after. One without any is
    /// judged.
    pub(super) fn take_in_suite(&self, key: i64, left: usize, record: SuiteRecord) {
        let watched = record.suite.as_ref().is_some_and(watchman::has_probes);
        if left > 0 {
            self.state().suites.insert(key, Suite { left, abort: None, watched });
        }
        if watched {
            let this = self.this.clone();
            task::spawn(OnPanic::Abort, async move {
                if task::caught(watchman::watch(this.clone(), key, record)).await.is_err()
                    && let Some(experiments) = this.upgrade()
                {
                    experiments.unwatched(key);
                }
            });
        } else if left == 0 {
            self.judge_soon(key);
        }
    }

    /// Says which methods there are instead.
    fn with_methods(&self, problem: Problem, suite: &ExperimentSuite) -> Problem {
        if problem.code == Code::NoSuchExperimentMethod {
            return problem.hint(suite::known(&self.methods, &suite.platform_type));
        }
        problem
    }
}

/// How many of a group were well when its suite was built; a target without a group is on its own.
pub(super) fn company(record: &SuiteRecord, group: &str) -> usize {
    let found = record.groups.iter().find(|it| it.aggregation_identifier == group);
    found.map_or(1, |group| group.well as usize)
}

/// The document that creates the like of an automatic suite; it names no targets.
fn document(platform_type: String, picks: &[Pick], seed: u64) -> ExperimentSuite {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Pick { target, method } in picks {
        let group = &target.aggregation_identifier;
        let identifier = if group.is_empty() { &target.name } else { group };
        groups.entry(identifier).or_default().push(method.name().to_owned());
    }
    let criteria = groups.into_iter().map(|(group, methods)| ExperimentCriteria {
        container_identifier: group.to_owned(),
        experiment_methods: methods,
        specific_container_targets: Vec::new(),
    });
    ExperimentSuite {
        platform_type,
        experiment_criteria: criteria.collect(),
        seed: Some(seed),
        ..ExperimentSuite::default()
    }
}

/// The kind of target of a platform, e.g. "ProcessContainer".
fn layer(platform_type: &str) -> String {
    let kind = platform_type.strip_suffix("Platform").unwrap_or(platform_type);
    format!("{kind}Container")
}
