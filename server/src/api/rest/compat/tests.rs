//! Each shape against the file that shows it.

use std::collections::BTreeMap;

use chaos_kitty::v1::{
    AdminStateResponse, ExperimentCriteria, experiment_type::Name as Kind, schedule::PlatformSchedule,
    target_health,
};

use super::*;

/// Says what the file should be when it is not.
fn matches(golden: &str, shape: &impl Serialize) {
    let shown = serde_json::to_value(shape).unwrap();
    let golden: Value = serde_json::from_str(golden).unwrap_or_default();
    assert_eq!(golden, shown, "it is:\n{}", serde_json::to_string_pretty(&shown).unwrap());
}

fn at(nanos: i32) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_567_083_331, nanos })
}

fn target() -> Target {
    Target {
        id: "process/web-1/nginx:4711".to_owned(),
        incarnation: "4711:99".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        aggregation_identifier: "nginx".to_owned(),
        name: "nginx:4711".to_owned(),
        agent_id: "web-1".to_owned(),
        host: "web-1".to_owned(),
        pids: vec![4711],
        health: target_health::State::Normal.into(),
        ..Target::default()
    }
}

fn an_experiment(id: &str, state: State) -> Experiment {
    Experiment {
        id: id.to_owned(),
        experiment_state: state.into(),
        container: Some(target()),
        experiment_type: Kind::State.into(),
        start_time: at(139_495_000),
        experiment_method_name: "delay".to_owned(),
        experiment_layer_name: "ProcessContainer".to_owned(),
        suite: at(0),
        ..Experiment::default()
    }
}

fn a_platform(platform_type: &str, health: Health) -> Platform {
    let platform_type = platform_type.to_owned();
    Platform { platform_type, health: health.into(), targets: 1, agents: 1, ..Platform::default() }
}

/// As the handler puts them together.
fn with_roster(mut shown: Value, roster: &[Target]) -> Value {
    shown["roster"] = roster.iter().map(|target| container(target).unwrap()).collect();
    shown
}

fn a_suite() -> ExperimentSuite {
    let criteria = ExperimentCriteria {
        container_identifier: "nginx".to_owned(),
        experiment_methods: vec!["cpuBurn.sh".to_owned()],
        specific_container_targets: Vec::new(),
    };
    ExperimentSuite {
        platform_type: "ProcessPlatform".to_owned(),
        experiment_criteria: vec![criteria],
        ..ExperimentSuite::default()
    }
}

#[test]
fn an_experiment_that_runs_has_nulls_for_what_is_not_known_yet() {
    let shown = experiment(&an_experiment("a", State::Created)).unwrap();
    matches(include_str!("../golden/experiment.json"), &shown);
}

#[test]
fn an_experiment_that_is_over_has_its_outcome() {
    let over = Experiment {
        was_self_healing_required: Some(true),
        last_self_healing_time: at(0),
        self_healing_counter: 2,
        ..an_experiment("a", State::Finished)
    };
    matches(include_str!("../golden/experiment-over.json"), &experiment(&over).unwrap());
}

#[test]
fn a_container_is_a_target_with_its_number() {
    matches(include_str!("../golden/container.json"), &container(&target()).unwrap());
}

#[test]
fn a_platform_has_its_roster_and_its_times() {
    let times = PlatformSchedule {
        platform_type: "ProcessPlatform".to_owned(),
        probability: 0.2,
        next: at(0),
        times: vec![at(139_000_000).unwrap_or_default()],
        ..PlatformSchedule::default()
    };
    let schedule = Schedule { platforms: vec![times], ..Schedule::default() };
    let shown = platform(&a_platform("ProcessPlatform", Health::Ok), &schedule).unwrap();
    let shown = with_roster(shown, &[target()]);
    matches(include_str!("../golden/platform.json"), &shown);
}

#[test]
fn a_platform_that_failed_and_was_never_scheduled_says_so() {
    let shown = platform(&a_platform("DockerPlatform", Health::Failed), &Schedule::default()).unwrap();
    let shown = with_roster(shown, &[]);
    matches(include_str!("../golden/platform-failed.json"), &shown);
}

#[test]
fn health_is_the_worst_of_each_level_and_of_all() {
    let platforms = [
        a_platform("ProcessPlatform", Health::Ok),
        a_platform("HostPlatform", Health::Unknown),
        a_platform("DockerPlatform", Health::Failed),
        a_platform("KubernetesPlatform", Health::Ok),
        a_platform("WorkerPlatform", Health::Ok),
    ];
    matches(include_str!("../golden/health.json"), &health(&platforms));
    matches(include_str!("../golden/health-of-none.json"), &health(&[]));
}

#[test]
fn groups_have_only_states_that_occur_and_counts_have_all() {
    let experiments = [("c", State::Started), ("a", State::Started), ("b", State::SelfHealing)];
    let experiments = experiments.map(|(id, state)| an_experiment(id, state));
    let mut groups = ByState::new();
    experiments.into_iter().for_each(|experiment| group_by_state(&mut groups, experiment));
    matches(include_str!("../golden/group-by-state.json"), &groups);
    matches(include_str!("../golden/count-by-state.json"), &count_by_state(&groups));
}

#[test]
fn a_suite_has_the_earlier_fields_always_and_later_ones_only_where_they_are_set() {
    matches(include_str!("../golden/suite.json"), &suite(&a_suite()).unwrap());
    let parameters = v1::MethodParameters { self_healing_retries: Some(3), ..Default::default() };
    let full = ExperimentSuite {
        name: "friday".to_owned(),
        seed: Some(7),
        min_survivors: Some(2),
        method_parameters: BTreeMap::from([("cpuBurn.sh".to_owned(), parameters)]),
        duration: Some(std::time::Duration::from_millis(1500).into()),
        ..a_suite()
    };
    let shown = suite(&full).unwrap();
    matches(include_str!("../golden/suite-full.json"), &shown);
    assert_eq!(serde_json::from_value::<ExperimentSuite>(shown).unwrap(), full, "it can be built again");
}

#[test]
fn the_state_of_the_administration_is_a_word() {
    let paused = AdminStateResponse { state: v1::admin_state::Name::Paused.into(), ..Default::default() };
    matches(include_str!("../golden/admin-state.json"), &admin_state(&paused));
}

#[test]
fn keys_of_the_history_have_microseconds_and_go_down() {
    let key = |time: Option<Timestamp>, newer| history_key(time.unwrap_or_default(), newer).unwrap();
    let (first, text) = key(at(139_495_999), None);
    let keys = [text, key(at(139_495_999), Some(first)).1, key(at(0), Some(first)).1];
    matches(include_str!("../golden/history-keys.json"), &keys);
}
