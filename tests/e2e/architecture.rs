//! The directions between crates and between folders, and a few rules that no lint can carry.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders of `server/src`, from the top down: each may use those below its own line only. The files beside
/// them (main, lib, app, config) put the parts together and are free.
const SERVER: &[&[&str]] = &[
    &["api"],
    &["schedule"],
    &["experiment", "operation"],
    &["action"],
    &["safety"],
    &["fleet"],
    &["event", "store", "listen"],
];

/// The same of `agent/src`.
const AGENT: &[&[&str]] =
    &[&["uplink"], &["executor"], &["action", "journal", "policy"], &["platform", "stress"], &["host"]];

/// The same of `cli/src`.
const CLI: &[&[&str]] = &[&["command"], &["output"], &["args"]];

/// Which of the project's crates each may depend on, tests apart.
const CRATES: &[(&str, &[&str])] = &[
    (".", &[]),
    ("guard", &[]),
    ("server", &["chaos-kitty"]),
    ("agent", &["chaos-kitty", "chaos-kitty-guard"]),
    ("worker", &["chaos-kitty"]),
    ("cli", &["chaos-kitty"]),
    ("demo", &[]),
    ("tests", &["chaos-kitty"]),
    ("benches", &["chaos-kitty", "chaos-kitty-tests"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The names that follow `crate::` in a source, comments left out.
fn used_modules(source: &str) -> BTreeSet<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut used = BTreeSet::new();
    for line in code {
        for after in line.split("crate::").skip(1) {
            let group = after.strip_prefix('{').map(|group| group.split('}').next().unwrap_or(group));
            for name in group.unwrap_or(after).split(',') {
                let name = name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next();
                used.extend(name.filter(|name| !name.is_empty()).map(str::to_owned));
            }
        }
    }
    used
}

fn upward_uses(package: &str, layers: &[&[&str]]) -> Vec<String> {
    let layer = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    let source = root().join(package).join("src");
    let mut wrong = Vec::new();
    for folder in layers.concat() {
        let files = rust_files(&source.join(folder)).into_iter().chain([source.join(format!("{folder}.rs"))]);
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            for used in used_modules(&text) {
                if used != folder && layer(&used).is_some_and(|of_used| of_used <= layer(folder).unwrap()) {
                    wrong
                        .push(format!("{} uses crate::{used}", file.strip_prefix(root()).unwrap().display()));
                }
            }
        }
    }
    wrong
}

#[test]
fn folders_use_only_those_below_them() {
    let wrong =
        [upward_uses("server", SERVER), upward_uses("agent", AGENT), upward_uses("cli", CLI)].concat();
    assert!(
        wrong.is_empty(),
        "against the directions that docs/architecture.md tells:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn crates_depend_only_on_those_below_them() {
    for (folder, allowed) in CRATES {
        let manifest = manifest(folder);
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        let ours = dependencies.into_iter().flatten().map(|(name, _)| name.as_str());
        for name in ours.filter(|name| name.starts_with("chaos-kitty")) {
            assert!(allowed.contains(&name), "{folder}/Cargo.toml must not depend on {name}");
        }
    }
}

#[test]
fn every_crate_obeys_the_lints_of_the_workspace() {
    for (folder, _) in CRATES {
        let lints = manifest(folder).get("lints").and_then(|lints| lints.get("workspace").cloned());
        assert_eq!(lints, Some(toml::Value::Boolean(true)), "{folder}/Cargo.toml");
    }
}

#[test]
fn the_crates_listed_here_are_the_members_of_the_workspace() {
    let members = manifest(".")["workspace"]["members"].clone();
    let members: BTreeSet<_> =
        members.as_array().unwrap().iter().filter_map(|m| m.as_str().map(str::to_owned)).collect();
    let listed = CRATES.iter().map(|(folder, _)| (*folder).to_owned()).filter(|folder| folder != ".");
    assert_eq!(members, listed.collect());
}

#[test]
fn no_test_is_ignored_and_no_file_is_too_long_to_read_at_one_sitting() {
    const LINES: usize = 600;
    let folders =
        ["proto", "server/src", "agent/src", "guard/src", "worker", "cli/src", "demo", "tests", "benches"];
    for file in folders.iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let marker = ["#[", "ignore"].concat();
        assert!(!text.contains(&marker), "{} ignores a test", file.display());
        assert!(text.lines().count() <= LINES, "{} has more than {LINES} lines", file.display());
    }
}

#[test]
fn every_point_that_a_program_can_be_caught_at_is_in_the_torture_grid_or_in_the_crashes_of_experiments() {
    let folders = ["server/src", "agent/src", "guard/src"];
    let files = folders.iter().flat_map(|folder| rust_files(&root().join(folder)));
    let sources = files.map(|file| fs::read_to_string(file).unwrap());
    let names = |source: String| -> Vec<String> {
        let calls = source.split("hooks::point(\"").skip(1);
        calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())).collect()
    };
    let points: BTreeSet<_> = sources.flat_map(names).collect();
    assert!(points.len() > 20, "{points:?}");
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (grid, experiments) = (read("tests/torture/grid.rs"), read("tests/e2e/experiment_crash.rs"));
    let missing = points.iter().filter(|point| {
        !grid.contains(&format!("point(\"{point}\"")) && !experiments.contains(&format!("\"{point}\""))
    });
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_use_against_the_direction_is_seen() {
    let source = "use crate::{api::grpc, store};\n// crate::listen\nfn f() { crate::fleet::Fleet::new() }";
    assert_eq!(used_modules(source).into_iter().collect::<Vec<_>>(), ["api", "fleet", "store"]);
}

#[test]
fn every_test_that_the_table_of_defects_names_exists() {
    let table = root().join("docs/decisions/0004-defects-of-the-ruby-system.md");
    let table = fs::read_to_string(table).unwrap();
    let named: Vec<_> = table.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 25, "the table has its names in back quotes");
    let files = ["proto", "server/src", "agent", "worker", "cli", "tests"];
    let files: Vec<_> = files.iter().flat_map(|folder| rust_files(&root().join(folder))).collect();
    let sources: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let missing = named.iter().filter(|name| !sources.contains(&format!("fn {name}(")));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
