//! Experiments: as lines of tables, with all that is known of one, and as they come along.

use std::time::{Duration, SystemTime};

use chaos_kitty::v1::{
    Experiment, ExperimentMethod, ExperimentSuite, Script, experiment_state::Name as State,
    experiment_type::Name as Type, verdict::Name as Verdict,
};

use super::{
    Cell, Course, Row, Tone, View,
    status::field,
    table::align,
    text::{self, ago, between, duration, moment, printable, std, time},
};

/// The colour of a state.
pub(super) fn tone_of(state: State) -> Tone {
    match state {
        State::Created => Tone::Dim,
        State::Starting | State::Started | State::Finalizing => Tone::Busy,
        State::Finished => Tone::Good,
        State::SelfHealing | State::Failed => Tone::Bad,
    }
}

/// The target by the shortest name there is.
pub(super) fn target_of(experiment: &Experiment) -> &str {
    let target = experiment.container.as_ref();
    target
        .map(|target| if target.name.is_empty() { &target.id } else { &target.name })
        .map_or("", String::as_str)
}

/// What went wrong, else why it is in this state.
fn reason(experiment: &Experiment) -> String {
    match (&experiment.problem, experiment.transitions.last()) {
        (Some(problem), _) => format!("{}: {}", problem.code, problem.message),
        (None, Some(last)) => last.reason.clone(),
        (None, None) => String::new(),
    }
}

impl Row for Experiment {
    const PLURAL: &'static str = "experiments";
    const HEAD: &'static [&'static str] =
        &["ID", "METHOD", "TARGET", "STATE", "HEALINGS", "BEGAN", "TOOK", "REASON"];

    fn cells(&self, now: SystemTime) -> Vec<Cell> {
        let state = self.experiment_state();
        let healings = if self.self_healing_counter == 0 {
            String::new()
        } else {
            self.self_healing_counter.to_string()
        };
        let took = between(self.start_time.as_ref(), self.ended_at.as_ref());
        vec![
            Cell::from(&self.id),
            Cell::from(&self.experiment_method_name),
            Cell::from(target_of(self)),
            Cell::new(state.as_str_name(), tone_of(state)),
            healings.into(),
            ago(self.start_time.as_ref(), now).into(),
            took.map(duration).unwrap_or_default().into(),
            reason(self).into(),
        ]
    }

    /// One that is only planned has no id: its target's says the most.
    fn key(&self) -> &str {
        let target = self.container.as_ref().map_or("", |target| target.id.as_str());
        if self.id.is_empty() { target } else { &self.id }
    }
}

impl Course for Experiment {
    fn id(&self) -> &str {
        &self.id
    }

    fn step(&self) -> String {
        format!("{} {}", self.experiment_state().as_str_name(), self.self_healing_counter)
    }

    fn is_in_force(&self) -> bool {
        self.experiment_state() == State::Started
    }

    fn is_over(&self) -> bool {
        matches!(self.experiment_state(), State::Finished | State::Failed)
    }

    fn length(&self) -> Duration {
        let maximum = self.parameters.as_ref().and_then(|parameters| parameters.maximum_duration.as_ref());
        maximum.map(std).unwrap_or_default()
    }

    fn line(&self) -> String {
        let state = self.experiment_state();
        let style = tone_of(state).style();
        let (name, method) = (state.as_str_name(), printable(&self.experiment_method_name));
        let mut line = format!("{style}{name}{style:#} {method} on {}", printable(target_of(self)));
        let reason = reason(self);
        if !reason.is_empty() {
            line.push_str(", ");
            line.push_str(&printable(&reason));
        }
        line
    }
}

impl View for Experiment {
    fn view(&self, _now: SystemTime) -> String {
        let state = self.experiment_state();
        let target = self.container.clone().unwrap_or_default();
        let kind = type_word(self.experiment_type());
        let healed = match self.was_self_healing_required {
            Some(true) => "required",
            Some(false) => "not required",
            None => "",
        };
        let attempts = match &self.parameters {
            Some(parameters) => {
                let most = parameters.self_healing_retries.unwrap_or_default();
                format!("{} of {most} attempts", self.self_healing_counter)
            }
            None => format!("{} attempts", self.self_healing_counter),
        };
        let healing = [healed, &attempts].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        let mut fields = vec![
            field("id", &self.id),
            field("method", format!("{} ({kind})", self.experiment_method_name)),
            field("target", format!("{} ({})", target.id, if target.cattle { "cattle" } else { "pet" })),
            field("group", &target.aggregation_identifier),
            field("state", Cell::new(state.as_str_name(), tone_of(state))),
            field("suite", moment(self.suite.as_ref())),
            field("action", &self.action_id),
            field("healing", healing.join(", ")),
            field("started", time(self.start_time.as_ref())),
            field("ended", time(self.ended_at.as_ref())),
        ];
        if let Some(times) = times(self) {
            fields.push(field("times", times));
        }
        if let Some(aborted) = &self.aborted {
            fields.push(field("aborted", aborted));
        }
        if let Some(problem) = &self.problem {
            fields.push(field(
                "problem",
                Cell::new(format!("{}: {}", problem.code, problem.message), Tone::Bad),
            ));
            fields.push(field("hint", &problem.hint));
        }
        let mut text = align(&fields);
        text.push('\n');
        text.push_str(&align(
            &self
                .transitions
                .iter()
                .map(|change| {
                    vec![
                        Cell::new(time(change.at.as_ref()), Tone::Dim),
                        Cell::new(change.state().as_str_name(), tone_of(change.state())),
                        Cell::from(&change.reason),
                    ]
                })
                .collect::<Vec<_>>(),
        ));
        text
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// The numbers that it goes by.
fn times(experiment: &Experiment) -> Option<String> {
    let parameters = experiment.parameters.as_ref()?;
    let shown = |time: &Option<_>| time.as_ref().map(text::asked).unwrap_or_default();
    Some(format!(
        "{} to {}, finalized after {}, healed every {}",
        shown(&parameters.minimum_duration),
        shown(&parameters.maximum_duration),
        shown(&parameters.finalization_duration),
        shown(&parameters.self_healing_interval),
    ))
}

/// What kind of trouble it is, in small letters.
pub(super) fn type_word(kind: Type) -> String {
    match kind {
        Type::Unspecified => String::new(),
        kind => kind.as_str_name().to_lowercase(),
    }
}

/// Whether only what is recreated can take it.
fn herd(cattle_only: bool) -> Cell {
    if cattle_only { "cattle" } else { "all" }.into()
}

impl Row for ExperimentMethod {
    const PLURAL: &'static str = "experiment methods";
    const HEAD: &'static [&'static str] =
        &["NAME", "TYPE", "FOR", "PLATFORMS", "AT MOST", "DRAWN", "DESCRIPTION"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        let short = |platform: &String| platform.strip_suffix("Platform").unwrap_or(platform).to_lowercase();
        let platforms: Vec<_> = self.platform_types.iter().map(short).collect();
        let longest = self.defaults.as_ref().and_then(|defaults| defaults.maximum_duration.as_ref());
        vec![
            Cell::from(&self.name),
            type_word(self.experiment_type()).into(),
            herd(self.cattle_only),
            platforms.join(" ").into(),
            longest.map(text::asked).unwrap_or_default().into(),
            if self.automated { "yes" } else { "by name only" }.into(),
            Cell::from(&self.description),
        ]
    }

    fn key(&self) -> &str {
        &self.name
    }
}

impl Row for Script {
    const PLURAL: &'static str = "scripts";
    const HEAD: &'static [&'static str] = &["NAME", "TYPE", "FOR", "FROM", "NEEDS", "DESCRIPTION"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        vec![
            Cell::from(&self.name),
            type_word(self.experiment_type()).into(),
            herd(self.cattle_only),
            if self.included { "included" } else { "folder" }.into(),
            self.dependencies.join(" ").into(),
            Cell::from(&self.description),
        ]
    }

    fn key(&self) -> &str {
        &self.name
    }
}

/// A suite that ran.
#[derive(Clone, Debug)]
pub(crate) struct PastSuite {
    /// Its time, by which it is known.
    pub(crate) at: String,
    /// As it was asked for.
    pub(crate) suite: ExperimentSuite,
    /// Whether the service bore it.
    pub(crate) verdict: Verdict,
    /// What decided that.
    pub(crate) reason: String,
}

/// A verdict in its colour. An earlier server gives none.
pub(crate) fn verdict_cell(verdict: Verdict) -> Cell {
    let tone = match verdict {
        Verdict::Unspecified => return String::new().into(),
        Verdict::Running => Tone::Busy,
        Verdict::Passed => Tone::Good,
        Verdict::Failed | Verdict::Aborted | Verdict::Errored => Tone::Bad,
    };
    Cell::new(verdict.as_str_name(), tone)
}

/// The same with what decided it.
pub(crate) fn verdict_told(verdict: Verdict, reason: &str) -> String {
    let word = if verdict == Verdict::Unspecified { "" } else { verdict.as_str_name() };
    if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") }
}

impl Row for PastSuite {
    const PLURAL: &'static str = "suites";
    const HEAD: &'static [&'static str] =
        &["TIMESTAMP", "PLATFORM", "NAME", "VERDICT", "EXPERIMENTS", "REASON"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        vec![
            Cell::from(&self.at),
            Cell::from(&self.suite.platform_type),
            Cell::from(&self.suite.name),
            verdict_cell(self.verdict),
            asked(&self.suite).into(),
            Cell::from(&self.reason),
        ]
    }

    fn key(&self) -> &str {
        &self.at
    }
}

/// What a suite asks for: `delay, spinCpu on nginx; killProcess on mongo`.
pub(super) fn asked(suite: &ExperimentSuite) -> String {
    let criteria = suite.experiment_criteria.iter().map(|criteria| {
        format!("{} on {}", criteria.experiment_methods.join(", "), criteria.container_identifier)
    });
    criteria.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use chaos_kitty::{
        Timestamp,
        v1::{self, ExperimentCriteria, Target, experiment::Transition},
    };

    use super::*;

    fn failed() -> Experiment {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let change = |state: State, seconds, reason: &str| Transition {
            state: state.into(),
            at: at(seconds),
            reason: reason.to_owned(),
        };
        Experiment {
            id: "e-1".to_owned(),
            experiment_method_name: "delay".to_owned(),
            experiment_state: State::Failed.into(),
            container: Some(Target {
                id: "process/web-1/nginx:1".to_owned(),
                name: "nginx:1".to_owned(),
                ..Default::default()
            }),
            start_time: at(10),
            ended_at: at(22),
            self_healing_counter: 2,
            was_self_healing_required: Some(true),
            problem: Some(v1::Problem {
                code: 13001,
                message: "not\u{1b} healthy".to_owned(),
                ..Default::default()
            }),
            transitions: vec![
                change(State::Created, 9, "as it was asked for"),
                change(State::Failed, 22, "it failed"),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn a_line_tells_what_went_wrong_and_nothing_of_it_steers_the_terminal() {
        let line = failed().line();
        let plain = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(plain, "FAILED delay on nginx:1, 13001: not\\u{1b} healthy");
    }

    #[test]
    fn a_view_has_every_change_with_its_time_and_reason() {
        let view = failed().view(SystemTime::UNIX_EPOCH);
        let view = anstream::adapter::strip_str(&view).to_string();
        for part in
            ["1970-01-01T00:00:09.000Z  CREATED", "as it was asked for", "required, 2 attempts", "pet"]
        {
            assert!(view.contains(part), "{part}: {view}");
        }
    }

    #[test]
    fn a_planned_experiment_is_named_by_its_target() {
        let planned = Experiment { id: String::new(), ..failed() };
        assert_eq!((failed().key(), planned.key()), ("e-1", "process/web-1/nginx:1"));
    }

    #[test]
    fn another_attempt_at_healing_is_another_step() {
        let again = Experiment { self_healing_counter: 3, ..failed() };
        assert_ne!(failed().step(), again.step());
    }

    #[test]
    fn a_suite_is_told_in_one_line() {
        let criteria = |group: &str, methods: &[&str]| ExperimentCriteria {
            container_identifier: group.to_owned(),
            experiment_methods: methods.iter().map(|&method| method.to_owned()).collect(),
            ..Default::default()
        };
        let experiment_criteria =
            vec![criteria("nginx", &["delay", "spinCpu"]), criteria("mongo", &["delay"])];
        let suite = ExperimentSuite { experiment_criteria, ..Default::default() };
        assert_eq!(asked(&suite), "delay, spinCpu on nginx; delay on mongo");
    }
}
