//! The document against the contract, the router and itself.

use std::collections::{BTreeMap, BTreeSet};

use chaos_kitty::telemetry::Verbosity;

use super::*;
use crate::api::{grpc::Service, rest::nouns};

fn table() -> Vec<Binding> {
    with_documents(nouns::<Service>(&Verbosity::default())).unwrap().table
}

fn whole() -> Value {
    document(&Contract::read().unwrap(), &table())
}

/// Placeholders may be called otherwise.
fn shape(path: &str) -> String {
    let outside = path.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    outside.collect::<Vec<_>>().join("{}")
}

/// Methods and paths in a comment like `POST|DELETE /a/{id}, PATCH /b?c=`.
fn beside_the_call(about: &str) -> Vec<(String, String)> {
    let (mut found, mut methods) = (Vec::new(), Vec::new());
    for word in about.split([' ', ',', '\n']) {
        let named: Vec<_> = word.split('|').collect();
        if named.iter().all(|word| METHODS.contains(word)) {
            methods = named;
        } else if word.starts_with('/') {
            let path = word.split(['?', '[']).next().unwrap_or(word);
            found.extend(methods.iter().map(|method| ((*method).to_owned(), shape(path))));
        }
    }
    found
}

#[test]
fn every_path_that_stands_beside_a_call_in_the_contract_is_bound_to_that_call() {
    let bound: BTreeSet<_> = table()
        .into_iter()
        .map(|binding| (binding.call.to_owned(), (binding.method.to_owned(), shape(binding.path))))
        .collect();
    let contract = Contract::read().unwrap();
    let mut seen = 0;
    for (name, call) in &contract.calls {
        for path in beside_the_call(&call.about) {
            seen += 1;
            assert!(bound.contains(&(name.clone(), path.clone())), "{name} stands beside {path:?}");
        }
    }
    assert!(seen >= 30, "the paths are read, {seen}");
    let unknown = bound.iter().filter(|(call, _)| !call.is_empty() && !contract.calls.contains_key(call));
    assert_eq!(unknown.count(), 0, "every call that is bound is in the contract");
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_id() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = whole();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let table = table();
    let ids: BTreeSet<_> = table.iter().map(id).collect();
    assert_eq!(ids.len(), table.len());
}

#[test]
fn each_placeholder_of_a_path_is_a_parameter() {
    let document = whole();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().unwrap().iter();
            let named: Vec<_> = parameters
                .filter(|one| one["in"] == "path")
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, placeholders(path), "{path}");
        }
    }
}

#[test]
fn a_call_is_told_by_its_comment_its_fields_and_its_answer() {
    let document = whole();
    let list = &document["paths"]["/action"]["get"];
    assert_eq!(list["summary"], "Actions in force and those that ended lately, newest first.");
    let unleash = document["paths"]["/action"]["post"]["summary"].as_str().unwrap();
    assert_eq!(unleash, "Applies one action to one target, or to some of a group, now.");
    let names: BTreeMap<_, _> = list["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), &one["schema"]["type"]))
        .collect();
    assert_eq!(names["activeOnly"], "boolean");
    assert_eq!(names["pageSize"], "integer");
    let build = &document["paths"]["/experiment/build"]["post"];
    assert_eq!(
        build["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/ExperimentSuite"
    );
    assert_eq!(
        build["responses"]["200"]["content"]["application/json"]["schema"]["items"]["$ref"],
        "#/components/schemas/Experiment"
    );
    let suite = &document["components"]["schemas"]["ExperimentSuite"]["properties"];
    assert_eq!(
        suite["methodParameters"]["additionalProperties"]["$ref"],
        "#/components/schemas/MethodParameters"
    );
    assert_eq!(suite["seed"]["type"], "string");
    assert_eq!(suite["duration"]["type"], "string");
    assert!(suite["steadyState"]["description"].as_str().unwrap().starts_with("What must hold"));
    let states = &document["components"]["schemas"]["ExperimentState.Name"]["enum"];
    assert_eq!(states[3], "SELF_HEALING");
    assert!(document["paths"]["/login"]["post"]["responses"].get("410").is_some());
    assert!(document["paths"].get("/experiment/start/{target}").is_some());
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    assert!(!PAGE.contains("http://") && !PAGE.contains("https://") && !PAGE.contains("src="));
}
