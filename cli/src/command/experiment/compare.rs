//! How identical two suites were. Pure: from two records to a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use chaos_kitty::v1::{
    Experiment, ExperimentSuite, SuiteRecord, experiment_state::Name as State, suite_record::Group,
};
use serde::Serialize;

use crate::output::{Cell, Row, Tone, text};

/// Two suites, aspect by aspect.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    a: String,
    b: String,
    /// Every aspect that can be the same is.
    identical: bool,
    pub(super) aspects: Vec<Aspect>,
}

/// One aspect of two suites.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Aspect {
    aspect: String,
    a: String,
    b: String,
    /// `None`: it is never quite the same, so it says nothing about identity.
    same: Option<bool>,
    /// In a word or two: how they differ.
    difference: String,
}

/// A method on a group.
type Part = (String, String);

impl Comparison {
    /// Compares two records.
    pub(super) fn of(a: &SuiteRecord, b: &SuiteRecord) -> Self {
        let mut aspects =
            vec![document(a, b), plain("seed", a.seed.to_string(), b.seed.to_string()), origin(a, b)];
        let verdict = |record: &SuiteRecord| record.verdict().as_str_name().to_owned();
        aspects.push(plain("verdict", verdict(a), verdict(b)));
        aspects.extend(groups(a, b));
        aspects.push(agents(a, b));
        let (parts_a, parts_b) = (parts(a), parts(b));
        let all: BTreeSet<&Part> = parts_a.keys().chain(parts_b.keys()).collect();
        for part in all {
            let of = |parts: &BTreeMap<Part, Vec<Experiment>>| parts.get(part).cloned().unwrap_or_default();
            aspects.extend(runs(part, &of(&parts_a), &of(&parts_b)));
        }
        Self {
            a: text::moment(a.at.as_ref()),
            b: text::moment(b.at.as_ref()),
            identical: aspects.iter().all(|aspect| aspect.same != Some(false)),
            aspects,
        }
    }

    /// In one sentence.
    pub(super) fn verdict(&self) -> String {
        let different: Vec<_> = self.aspects.iter().filter(|aspect| aspect.same == Some(false)).collect();
        if different.is_empty() {
            return "identical, durations apart".to_owned();
        }
        let names: Vec<_> = different.iter().map(|aspect| text::printable(&aspect.aspect)).collect();
        format!("{} of {} aspects differ: {}", names.len(), self.aspects.len(), names.join(", "))
    }
}

impl Row for Aspect {
    const PLURAL: &'static str = "aspects";
    const HEAD: &'static [&'static str] = &["ASPECT", "A", "B", "VERDICT"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        let verdict = match self.same {
            Some(true) => Cell::new("same", Tone::Good),
            Some(false) if self.difference.is_empty() => Cell::new("differs", Tone::Bad),
            Some(false) => Cell::new(format!("differs: {}", self.difference), Tone::Bad),
            None => Cell::new(&self.difference, Tone::Dim),
        };
        vec![Cell::from(&self.aspect), Cell::from(&self.a), Cell::from(&self.b), verdict]
    }

    fn key(&self) -> &str {
        &self.aspect
    }
}

/// An aspect that is the same when its words are.
fn plain(aspect: impl Into<String>, a: String, b: String) -> Aspect {
    let same = Some(a == b);
    Aspect { aspect: aspect.into(), a, b, same, difference: String::new() }
}

/// What was asked for, the seed apart.
fn document(a: &SuiteRecord, b: &SuiteRecord) -> Aspect {
    let suite = |record: &SuiteRecord| ExperimentSuite {
        seed: None,
        dry_run: false,
        ..record.suite.clone().unwrap_or_default()
    };
    let (suite_a, suite_b) = (suite(a), suite(b));
    let fields = [
        ("platformType", suite_a.platform_type != suite_b.platform_type),
        ("experimentCriteria", suite_a.experiment_criteria != suite_b.experiment_criteria),
        ("name", suite_a.name != suite_b.name),
        ("minSurvivors", suite_a.min_survivors != suite_b.min_survivors),
        ("methodParameters", suite_a.method_parameters != suite_b.method_parameters),
        ("steadyState", suite_a.steady_state != suite_b.steady_state),
        ("stopConditions", suite_a.stop_conditions != suite_b.stop_conditions),
        ("duration", suite_a.duration != suite_b.duration),
    ];
    let different: Vec<_> = fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    let told = |suite: &ExperimentSuite| {
        let criteria = &suite.experiment_criteria;
        let methods: usize = criteria.iter().map(|criteria| criteria.experiment_methods.len()).sum();
        format!("{}: {methods} on {} groups", suite.platform_type, criteria.len())
    };
    Aspect {
        aspect: "document".to_owned(),
        a: told(&suite_a),
        b: told(&suite_b),
        same: Some(suite_a == suite_b),
        difference: different.join(", "),
    }
}

/// Who chose.
fn origin(a: &SuiteRecord, b: &SuiteRecord) -> Aspect {
    let told = |record: &SuiteRecord| if record.automatic { "scheduler" } else { "request" }.to_owned();
    plain("made by", told(a), told(b))
}

/// The roster of each group: whether it was as large, as well, and the same.
fn groups(a: &SuiteRecord, b: &SuiteRecord) -> Vec<Aspect> {
    let by_name = |record: &SuiteRecord| -> BTreeMap<String, Group> {
        let groups = record.groups.iter();
        groups.map(|group| (group.aggregation_identifier.clone(), group.clone())).collect()
    };
    let (groups_a, groups_b) = (by_name(a), by_name(b));
    let names: BTreeSet<_> = groups_a.keys().chain(groups_b.keys()).collect();
    let told = |group: Option<&Group>| match group {
        Some(group) => format!("{} targets, {} well", group.targets.len(), group.well),
        None => String::new(),
    };
    names
        .into_iter()
        .map(|name| {
            let (a, b) = (groups_a.get(name), groups_b.get(name));
            Aspect {
                aspect: format!("roster of {name}"),
                a: told(a),
                b: told(b),
                same: Some(a == b),
                difference: members(a, b),
            }
        })
        .collect()
}

/// How many left and came, where both rosters are known.
fn members(a: Option<&Group>, b: Option<&Group>) -> String {
    let (Some(a), Some(b)) = (a, b) else { return String::new() };
    let count = |of: &Group, without: &Group| {
        of.targets.iter().filter(|target| !without.targets.contains(target)).count()
    };
    let (gone, new) = (count(a, b), count(b, a));
    if gone + new == 0 { String::new() } else { format!("{gone} gone, {new} new") }
}

/// Which versions carried it out.
fn agents(a: &SuiteRecord, b: &SuiteRecord) -> Aspect {
    let told = |record: &SuiteRecord| {
        let agents: BTreeSet<_> =
            record.agents.iter().map(|agent| format!("{} {}", agent.id, agent.version)).collect();
        agents.into_iter().collect::<Vec<_>>().join(", ")
    };
    plain("agents", told(a), told(b))
}

/// The experiments of each method on each group, ordered by target.
fn parts(record: &SuiteRecord) -> BTreeMap<Part, Vec<Experiment>> {
    let mut parts: BTreeMap<Part, Vec<Experiment>> = BTreeMap::new();
    for experiment in &record.experiments {
        let group = experiment.container.as_ref().map(|target| target.aggregation_identifier.clone());
        let part = (experiment.experiment_method_name.clone(), group.unwrap_or_default());
        parts.entry(part).or_default().push(experiment.clone());
    }
    for experiments in parts.values_mut() {
        experiments.sort_by(|a, b| target(a).cmp(target(b)));
    }
    parts
}

fn target(experiment: &Experiment) -> &str {
    experiment.container.as_ref().map_or("", |target| target.name.as_str())
}

/// What one method did to one group, in both suites.
fn runs((method, group): &Part, a: &[Experiment], b: &[Experiment]) -> Vec<Aspect> {
    let about = |what: &str| format!("{method} on {group}: {what}");
    let join = |experiments: &[Experiment], told: fn(&Experiment) -> String| {
        experiments.iter().map(told).collect::<Vec<_>>().join(", ")
    };
    let both = |what: &str, told: fn(&Experiment) -> String| plain(about(what), join(a, told), join(b, told));
    let mut aspects = vec![both("targets", |experiment| target(experiment).to_owned())];
    let facts = both("facts", facts);
    if !(facts.a.is_empty() && facts.b.is_empty()) {
        aspects.push(facts);
    }
    aspects.push(both("outcomes", outcome));
    let (longest_a, longest_b) = (longest(a), longest(b));
    aspects.push(Aspect {
        aspect: about("took"),
        a: longest_a.map(text::duration).unwrap_or_default(),
        b: longest_b.map(text::duration).unwrap_or_default(),
        same: None,
        difference: change(longest_a, longest_b),
    });
    aspects
}

/// What was known of its target.
fn facts(experiment: &Experiment) -> String {
    let labels = experiment.container.as_ref().map(|target| &target.labels);
    let ordered: BTreeMap<_, _> = labels.into_iter().flatten().collect();
    ordered.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn outcome(experiment: &Experiment) -> String {
    let mut told = experiment.experiment_state().as_str_name().to_owned();
    if let (State::Failed, Some(problem)) = (experiment.experiment_state(), &experiment.problem) {
        told.push_str(&format!(" {}", problem.code));
    }
    match experiment.self_healing_counter {
        0 => {}
        1 => told.push_str(" after 1 healing"),
        count => told.push_str(&format!(" after {count} healings")),
    }
    told
}

/// Of those that are over, the one that took longest.
fn longest(experiments: &[Experiment]) -> Option<Duration> {
    experiments.iter().filter_map(|it| text::between(it.start_time.as_ref(), it.ended_at.as_ref())).max()
}

/// `+12 %`.
fn change(a: Option<Duration>, b: Option<Duration>) -> String {
    match (a, b) {
        (Some(a), Some(b)) if !a.is_zero() => {
            format!("{:+.0} %", (b.as_secs_f64() / a.as_secs_f64() - 1.0) * 100.0)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::{
        Timestamp,
        v1::{Agent, Problem, Target},
    };

    use super::*;

    fn experiment(method: &str, target: &str, seconds: i64) -> Experiment {
        Experiment {
            experiment_method_name: method.to_owned(),
            experiment_state: State::Finished.into(),
            container: Some(Target {
                name: target.to_owned(),
                aggregation_identifier: "nginx".to_owned(),
                ..Default::default()
            }),
            start_time: Some(Timestamp { seconds: 100, nanos: 0 }),
            ended_at: Some(Timestamp { seconds: 100 + seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    fn record() -> SuiteRecord {
        SuiteRecord {
            at: Some(Timestamp { seconds: 1, nanos: 0 }),
            suite: Some(ExperimentSuite {
                platform_type: "ProcessPlatform".to_owned(),
                ..Default::default()
            }),
            seed: 7,
            groups: vec![Group {
                aggregation_identifier: "nginx".to_owned(),
                targets: ["a", "b", "c"].map(str::to_owned).to_vec(),
                well: 3,
            }],
            agents: vec![Agent { id: "web-1".to_owned(), version: "0.1.0".to_owned(), ..Default::default() }],
            experiments: vec![experiment("delay", "b", 10), experiment("delay", "a", 8)],
            ..Default::default()
        }
    }

    fn different(b: &SuiteRecord) -> Vec<String> {
        let comparison = Comparison::of(&record(), b);
        assert!(!comparison.identical);
        let different = comparison.aspects.into_iter().filter(|aspect| aspect.same == Some(false));
        different.map(|aspect| aspect.aspect).collect()
    }

    #[test]
    fn the_like_at_another_time_is_identical_whatever_it_took_and_in_whatever_order() {
        let mut later = SuiteRecord { at: Some(Timestamp { seconds: 2, nanos: 0 }), ..record() };
        later.experiments = vec![experiment("delay", "a", 9), experiment("delay", "b", 15)];
        let comparison = Comparison::of(&record(), &later);
        assert!(comparison.identical, "{comparison:?}");
        assert_eq!(comparison.verdict(), "identical, durations apart");
        let took = comparison.aspects.last().unwrap();
        assert_eq!((took.same, took.difference.as_str()), (None, "+50 %"));
    }

    #[test]
    fn every_aspect_that_differs_is_named() {
        assert_eq!(different(&SuiteRecord { seed: 8, ..record() }), ["seed"]);
        assert_eq!(different(&SuiteRecord { automatic: true, ..record() }), ["made by"]);
        assert_eq!(different(&SuiteRecord { suite: None, ..record() }), ["document"]);
        let mut b = record();
        b.groups[0].targets[2] = "d".to_owned();
        assert_eq!(different(&b), ["roster of nginx"]);
        let mut b = record();
        b.groups[0].well = 2;
        assert_eq!(different(&b), ["roster of nginx"]);
        let mut b = record();
        b.agents[0].version = "0.2.0".to_owned();
        assert_eq!(different(&b), ["agents"]);
        let mut b = record();
        b.experiments[0] = experiment("delay", "c", 10);
        assert_eq!(different(&b), ["delay on nginx: targets"]);
        let mut b = record();
        b.experiments[0].container.as_mut().unwrap().labels.insert("image".to_owned(), "v2".to_owned());
        assert_eq!(different(&b), ["delay on nginx: facts"]);
    }

    #[test]
    fn a_failure_and_a_healing_are_other_outcomes() {
        let mut b = record();
        b.experiments[1].self_healing_counter = 2;
        b.experiments[0].experiment_state = State::Failed.into();
        b.experiments[0].problem = Some(Problem { code: 13001, ..Default::default() });
        let comparison = Comparison::of(&record(), &b);
        let outcomes = comparison.aspects.iter().find(|aspect| aspect.aspect.ends_with("outcomes")).unwrap();
        assert_eq!((outcomes.a.as_str(), outcomes.same), ("FINISHED, FINISHED", Some(false)));
        assert_eq!(outcomes.b, "FINISHED after 2 healings, FAILED 13001");
    }

    #[test]
    fn a_method_that_only_one_of_them_had_is_seen() {
        let mut b = record();
        b.experiments.push(experiment("spinCpu", "c", 1));
        assert!(different(&b).contains(&"spinCpu on nginx: targets".to_owned()));
    }
}
