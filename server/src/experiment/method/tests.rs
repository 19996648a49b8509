use chaos_kitty::v1::{Kill, action_kind::Name};

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
fn what_ends_a_target_is_for_cattle_only_unless_it_starts_it_again_itself() {
    for method in Methods::new(&[]).iter() {
        let starts_again = matches!(method.action, Kind::Restart(_) | Kind::Stop(_));
        let ends = starts_again || method.cattle_only;
        assert_eq!(method.health == Health::Recycled, ends, "{}", method.name());
        assert_eq!(matches!(method.action, Kind::Kill(_)), method.cattle_only, "{}", method.name());
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
        (MethodParameters { maximum_duration: seconds(3601), ..Default::default() }, "p.maximum_duration"),
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
        .parameters("p", &MethodParameters::default(), None, &Settings::default(), Duration::from_secs(3600))
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
