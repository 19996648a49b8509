//! The document of a suite: reading what is to be built, writing what was.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use chaos_kitty::{
    Code, Problem, json,
    limits::BODY_BYTES,
    v1::{ExperimentCriteria, ExperimentSuite, HistoryEntry, MethodParameters, Probe},
};
use serde::{Serialize, Serializer};

use crate::output::text;

/// Reads the document in a file; `-` is standard input.
///
/// # Errors
/// [`Code::Usage`]: the file can not be read; [`Code::TooLarge`]; [`Code::MalformedJson`], with line and column.
pub(super) fn read(file: &Path) -> Result<ExperimentSuite, Problem> {
    let bytes =
        if file == Path::new("-") { limited(io::stdin()) } else { File::open(file).and_then(limited) };
    let bytes = bytes.map_err(|error| {
        Problem::new(Code::Usage, format!("reading {}: {error}", file.display()))
            .hint("give the file of a document, or - for standard input")
    })?;
    parse(&file.display().to_string(), &bytes)
}

/// All that is there, up to one byte more than is accepted.
fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(BODY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(name: &str, bytes: &[u8]) -> Result<ExperimentSuite, Problem> {
    if bytes.len() > BODY_BYTES {
        return Err(Problem::new(Code::TooLarge, format!("{name}: it is over {BODY_BYTES} bytes"))
            .hint("build several suites"));
    }
    json::read(bytes).map_err(|error| {
        Problem::new(Code::MalformedJson, format!("{name}: {error}"))
            .hint("`kittyctl experiment build --help` shows a document")
    })
}

/// The history as the earlier experiment manager writes it: a bare map from the time to the document, newest first.
#[derive(Debug)]
pub(super) struct BareHistory<'a>(pub(super) &'a [HistoryEntry]);

impl Serialize for BareHistory<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let suites = self.0.iter().filter_map(|entry| entry.suite.as_ref().map(|suite| (entry, suite)));
        serializer
            .collect_map(suites.map(|(entry, suite)| (text::moment(entry.at.as_ref()), Document::of(suite))))
    }
}

/// A suite's document: of the fields that the earlier documents have not, only those that are set.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    platform_type: &'a str,
    experiment_criteria: &'a [ExperimentCriteria],
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    /// 64 bits, so proto JSON writes a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_survivors: Option<u32>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    method_parameters: std::collections::BTreeMap<&'a str, &'a MethodParameters>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    steady_state: &'a [Probe],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_conditions: &'a [Probe],
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<pbjson_types::Duration>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

impl<'a> Document<'a> {
    fn of(suite: &'a ExperimentSuite) -> Self {
        let ExperimentSuite {
            platform_type,
            experiment_criteria,
            name,
            seed,
            min_survivors,
            method_parameters,
            steady_state,
            stop_conditions,
            duration,
            dry_run,
        } = suite;
        Self {
            platform_type,
            experiment_criteria,
            name,
            seed: seed.map(|seed| seed.to_string()),
            min_survivors: *min_survivors,
            method_parameters: method_parameters.iter().map(|(name, it)| (name.as_str(), it)).collect(),
            steady_state,
            stop_conditions,
            duration: *duration,
            dry_run: *dry_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use chaos_kitty::Timestamp;

    use super::*;

    const FULL: &str = r#"{
        "platformType": "ProcessPlatform",
        "experimentCriteria": [
            {"containerIdentifier": "nginx", "experimentMethods": ["delay"], "specificContainerTargets": []}
        ],
        "name": "friday", "seed": "18446744073709551615", "minSurvivors": 2,
        "methodParameters": {"delay": {"minimumDuration": "0.2s", "delay": {}}},
        "steadyState": [{"tcp": {"address": "127.0.0.1:80"}}],
        "stopConditions": [{"http": {"url": "http://127.0.0.1/"}}],
        "duration": "1.5s", "dryRun": true
    }"#;

    fn refused(json: &str) -> Problem {
        parse("crit.json", json.as_bytes()).expect_err(json)
    }

    #[test]
    fn the_earlier_document_and_every_optional_field_are_read() {
        let bare = r#"{"platformType": "DockerPlatform", "experimentCriteria": [{"containerIdentifier": "mongo",
            "experimentMethods": ["cpuBurn.sh", "starveRandomNumberGenerator.sh"],
            "specificContainerTargets": ["mongo-qw93ut"]}]}"#;
        let bare = parse("-", bare.as_bytes()).unwrap();
        assert_eq!(bare.experiment_criteria[0].specific_container_targets, ["mongo-qw93ut"]);
        let full = parse("-", FULL.as_bytes()).unwrap();
        assert_eq!((full.seed, full.min_survivors, full.dry_run), (Some(u64::MAX), Some(2), true));
    }

    #[test]
    fn what_can_not_be_read_is_wrong_usage_with_its_place() {
        for (json, words) in [
            ("{\n  \"platform\": \"x\"\n}", "unknown field `platform`"),
            ("{\n  \"platform\" \"x\"\n}", "line 2 column 14"),
            ("{\"platformType\": 7}", "platformType: "),
            ("{\"duration\": \"soon\"}", "duration: \"soon\": write it like"),
            ("{\"experimentCriteria\": [{\"experimentMethods\": \"delay\"}]}", "expected a sequence"),
            ("{\"platformType\": \"a\", \"platformType\": \"b\"}", "comes twice"),
            ("{\"platformType\": \"a\"} more", "trailing characters"),
            ("", "EOF"),
        ] {
            let problem = refused(json);
            assert_eq!(problem.code.exit(), 2, "{problem}");
            assert!(
                problem.message.starts_with("crit.json: ") && problem.message.contains(words),
                "{problem}"
            );
        }
        assert_eq!(refused(&" ".repeat(BODY_BYTES + 1)).code, Code::TooLarge);
        assert!(parse("x", b"{\"name\": \"\xff\"}").is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(&deep).code, Code::MalformedJson);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let problem = read(Path::new("no/such.json")).unwrap_err();
        assert_eq!(problem.code.exit(), 2);
        assert!(problem.message.contains("no/such.json"), "{problem}");
    }

    #[test]
    fn every_value_of_the_history_is_the_document_that_was_built() {
        let full = parse("-", FULL.as_bytes()).unwrap();
        let bare = ExperimentSuite { platform_type: "ProcessPlatform".to_owned(), ..Default::default() };
        let entry = |seconds, suite: &ExperimentSuite| HistoryEntry {
            at: Some(Timestamp { seconds, nanos: 0 }),
            suite: Some(suite.clone()),
            ..Default::default()
        };
        let history = [entry(2, &full), entry(1, &bare)];
        let json = serde_json::to_string(&BareHistory(&history)).unwrap();
        assert!(json.starts_with("{\"1970-01-01T00:00:02.000000Z\":{\"platformType\""), "{json}");
        assert!(json.ends_with("\"1970-01-01T00:00:01.000000Z\":{\"platformType\":\"ProcessPlatform\",\"experimentCriteria\":[]}}"), "{json}");
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        let again: Vec<_> =
            map.values().map(|value| parse("-", value.to_string().as_bytes()).unwrap()).collect();
        assert_eq!(again, [bare, full]);
    }
}
