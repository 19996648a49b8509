//! What a suite asks for, read and checked. Pure: each mistake is named by its field.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chaos_kitty::{
    Code, Problem,
    v1::{ExperimentCriteria, ExperimentSuite, MethodParameters},
};

use super::{
    Settings,
    method::{Method, Methods, time},
    probe,
};

/// Experiments of one suite at the most.
const EXPERIMENTS: usize = 10_000;
/// Longest name, in bytes.
const NAME: usize = 256;

/// A suite that can be planned.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) platform_type: String,
    pub(super) criteria: Vec<Criterion>,
    pub(super) min_survivors: usize,
    /// By the method's name, with every default filled in.
    pub(super) parameters: BTreeMap<String, MethodParameters>,
}

/// What is wanted of one group.
#[derive(Debug)]
pub(super) struct Criterion {
    /// Its path in the request.
    pub(super) field: String,
    pub(super) group: String,
    pub(super) methods: Vec<Arc<Method>>,
    /// Names or ids; the first gets the first method, and so on.
    pub(super) named: Vec<String>,
}

/// Reads a suite.
///
/// # Errors
/// [`Code::InvalidArgument`] with the field; [`Code::NoSuchExperimentMethod`], listing those there are.
pub(super) fn read(
    suite: &ExperimentSuite,
    methods: &Methods,
    settings: &Settings,
    longest: Duration,
) -> Result<Wanted, Problem> {
    if suite.platform_type.is_empty() {
        return Err(Problem::invalid("platform_type", "it is missing")
            .hint("name a platform, e.g. ProcessPlatform; see `kittyctl platform list`"));
    }
    text("name", &suite.name)?;
    let criteria = criteria(suite, methods)?;
    let wanted = criteria.iter().flat_map(|criterion| &criterion.methods);
    let parameters = parameters(suite, wanted, settings, longest)?;
    for (field, probes) in
        [("steady_state", &suite.steady_state), ("stop_conditions", &suite.stop_conditions)]
    {
        probe::validate(field, probes)?;
    }
    Ok(Wanted {
        platform_type: suite.platform_type.clone(),
        criteria,
        min_survivors: settings.min_survivors.max(suite.min_survivors.unwrap_or_default() as usize),
        parameters,
    })
}

fn criteria(suite: &ExperimentSuite, methods: &Methods) -> Result<Vec<Criterion>, Problem> {
    if suite.experiment_criteria.is_empty() {
        return Err(
            Problem::invalid("experiment_criteria", "it is empty").hint("say what to do to which group")
        );
    }
    let count: usize =
        suite.experiment_criteria.iter().map(|criteria| criteria.experiment_methods.len()).sum();
    if count > EXPERIMENTS {
        let what = format!("{count} experiments are more than {EXPERIMENTS} in one suite");
        return Err(Problem::invalid("experiment_criteria", what).hint("build several suites"));
    }
    let numbered = suite.experiment_criteria.iter().enumerate();
    numbered
        .map(|(number, criteria)| {
            criterion(format!("experiment_criteria[{number}]"), criteria, &suite.platform_type, methods)
        })
        .collect()
}

fn criterion(
    field: String,
    criteria: &ExperimentCriteria,
    platform: &str,
    methods: &Methods,
) -> Result<Criterion, Problem> {
    let ExperimentCriteria { container_identifier, experiment_methods, specific_container_targets } =
        criteria;
    let path = |name: &str| format!("{field}.{name}");
    if container_identifier.is_empty() {
        return Err(Problem::invalid(&path("container_identifier"), "it is missing")
            .hint("name a group, by its aggregation identifier; see `kittyctl target list`"));
    }
    text(&path("container_identifier"), container_identifier)?;
    if experiment_methods.is_empty() {
        return Err(
            Problem::invalid(&path("experiment_methods"), "it is empty").hint(known(methods, platform))
        );
    }
    let (named, wanted) = (specific_container_targets.len(), experiment_methods.len());
    if named > wanted {
        let what = format!("{named} targets are more than {wanted} methods");
        return Err(Problem::invalid(&path("specific_container_targets"), what)
            .hint("name at most one target for each method"));
    }
    let mut seen = HashSet::new();
    for (index, target) in specific_container_targets.iter().enumerate() {
        let field = path(&format!("specific_container_targets[{index}]"));
        text(&field, target)?;
        if target.is_empty() || !seen.insert(target) {
            let what = if target.is_empty() {
                "it is empty".to_owned()
            } else {
                format!("{target:?} is named twice")
            };
            return Err(Problem::invalid(&field, what).hint("a target takes part in one experiment"));
        }
    }
    let find = |(index, name): (usize, &String)| {
        methods.get(name).cloned().ok_or_else(|| {
            let field = path(&format!("experiment_methods[{index}]"));
            Problem::new(Code::NoSuchExperimentMethod, format!("{field}: there is no method {name:?}"))
                .hint(known(methods, platform))
        })
    };
    let methods = experiment_methods.iter().enumerate().map(find).collect::<Result<_, _>>()?;
    Ok(Criterion {
        field,
        group: container_identifier.clone(),
        methods,
        named: specific_container_targets.clone(),
    })
}

/// Parameters of every method that the suite uses.
fn parameters<'a>(
    suite: &ExperimentSuite,
    wanted: impl Iterator<Item = &'a Arc<Method>>,
    settings: &Settings,
    longest: Duration,
) -> Result<BTreeMap<String, MethodParameters>, Problem> {
    let duration = time("duration", suite.duration)?;
    let none = MethodParameters::default();
    let mut filled = BTreeMap::new();
    for method in wanted {
        if !filled.contains_key(method.name()) {
            let field = format!("method_parameters[{:?}]", method.name());
            let given = suite.method_parameters.get(method.name()).unwrap_or(&none);
            let parameters = method.parameters(&field, given, duration, settings, longest)?;
            filled.insert(method.name().to_owned(), parameters);
        }
    }
    let unused = suite.method_parameters.keys().filter(|name| !filled.contains_key(*name)).min();
    if let Some(unused) = unused {
        let what = format!("the suite has no experiment of method {unused:?}");
        return Err(Problem::invalid("method_parameters", what).hint("leave it out, or use the method"));
    }
    Ok(filled)
}

/// What to name instead.
pub(super) fn known(methods: &Methods, platform: &str) -> String {
    let names = methods.names(platform);
    if names.is_empty() {
        return format!("{platform} has no methods");
    }
    format!("{platform} has {}", names.join(", "))
}

fn text(field: &str, text: &str) -> Result<(), Problem> {
    if text.len() > NAME {
        return Err(Problem::invalid(field, format!("it is longer than {NAME} bytes")));
    }
    if text.contains(char::is_control) {
        return Err(Problem::invalid(field, "it has control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(json: &str) -> Result<Wanted, Problem> {
        let suite: ExperimentSuite = serde_json::from_str(json).unwrap();
        read(&suite, &Methods::new(&[]), &Settings::default(), Duration::from_secs(3600))
    }

    fn with(criteria: &str, more: &str) -> String {
        format!(r#"{{"platformType": "ProcessPlatform", "experimentCriteria": [{criteria}]{more}}}"#)
    }

    const NGINX: &str = r#"{"containerIdentifier": "nginx", "experimentMethods": ["delay", "spinCpu"],
                            "specificContainerTargets": ["nginx:1"]}"#;

    #[test]
    fn the_earlier_systems_document_is_read_as_it_is() {
        let wanted = read_json(&with(NGINX, "")).unwrap();
        let [criterion] = &wanted.criteria[..] else { panic!("{wanted:?}") };
        assert_eq!((criterion.group.as_str(), &criterion.named[..]), ("nginx", &["nginx:1".to_owned()][..]));
        let methods: Vec<_> = criterion.methods.iter().map(|method| method.name()).collect();
        assert_eq!(methods, ["delay", "spinCpu"]);
        assert_eq!(wanted.parameters.len(), 2);
        assert_eq!(wanted.min_survivors, 1);
    }

    #[test]
    fn targets_may_be_left_out_altogether() {
        let json = with(r#"{"containerIdentifier": "nginx", "experimentMethods": ["delay"]}"#, "");
        assert!(read_json(&json).unwrap().criteria[0].named.is_empty());
    }

    #[test]
    fn each_mistake_is_refused_with_its_field() {
        let group = |rest: &str| with(&format!(r#"{{"containerIdentifier": "nginx", {rest}}}"#), "");
        let long = "x".repeat(NAME + 1);
        for (json, words) in [
            (r#"{"experimentCriteria": []}"#.to_owned(), "platform_type: it is missing"),
            (with("", ""), "experiment_criteria: it is empty"),
            (with(r#"{"experimentMethods": ["delay"]}"#, ""), "experiment_criteria[0].container_identifier"),
            (group(r#""experimentMethods": []"#), "experiment_criteria[0].experiment_methods: it is empty"),
            (
                group(r#""experimentMethods": ["delay"], "specificContainerTargets": ["a", "b"]"#),
                "specific_container_targets: 2 targets are more than 1 methods",
            ),
            (
                group(r#""experimentMethods": ["delay", "delay"], "specificContainerTargets": ["a", "a"]"#),
                "specific_container_targets[1]: \"a\" is named twice",
            ),
            (
                group(r#""experimentMethods": ["delay"], "specificContainerTargets": [""]"#),
                "specific_container_targets[0]: it is empty",
            ),
            (with(NGINX, &format!(r#", "name": "{long}""#)), "name: it is longer"),
            (
                with(NGINX, r#", "methodParameters": {"triggerGc": {}}"#),
                "no experiment of method \"triggerGc\"",
            ),
            (with(NGINX, r#", "duration": "-1s""#), "duration"),
            (
                with(NGINX, r#", "stopConditions": [{"tcp": {"address": "here"}}]"#),
                "stop_conditions[0].tcp.address",
            ),
        ] {
            let problem = read_json(&json).unwrap_err();
            assert_eq!(problem.code, Code::InvalidArgument, "{problem}");
            assert!(problem.message.contains(words), "{words}: {problem}");
        }
    }

    #[test]
    fn an_unknown_method_is_refused_with_those_of_the_platform() {
        let json = with(r#"{"containerIdentifier": "nginx", "experimentMethods": ["meow"]}"#, "");
        let problem = read_json(&json).unwrap_err();
        assert_eq!(problem.code, Code::NoSuchExperimentMethod);
        assert!(problem.hint.contains("killProcess") && !problem.hint.contains("raiseError"), "{problem}");
    }

    #[test]
    fn too_many_experiments_are_refused() {
        let methods = vec![r#""delay""#; EXPERIMENTS + 1].join(",");
        let json = with(&format!(r#"{{"containerIdentifier": "g", "experimentMethods": [{methods}]}}"#), "");
        assert_eq!(read_json(&json).unwrap_err().code, Code::InvalidArgument);
    }
}
