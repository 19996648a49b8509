//! What README and docs/processes.md tell a newcomer to paste works as it stands there.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use chaos_kitty_tests::{Finished, Sandbox, built};

/// An ordinary user.
const ORDINARY: u32 = 1000;

/// All blocks of shell below a heading, up to the next one of these.
fn blocks(file: &str, heading: &str, end: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join(file)).unwrap();
    let (_, after) = text.split_once(heading).unwrap();
    let section = after.split_once(end).map_or(after, |(section, _)| section);
    let found: Vec<_> =
        section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(found.len() > 3, "{file} has its blocks below {heading}");
    found.concat()
}

/// Pastes the blocks into bash, in a folder with the programs where the manual's build puts them. Only what would disturb
/// the tests beside it is different: nothing is built, and no fixed port is listened on.
fn paste(script: &str, user: Option<u32>) -> Finished {
    let sandbox = Sandbox::new();
    let examples = sandbox.path().join("target/debug/examples");
    fs::create_dir_all(&examples).unwrap();
    for name in ["kittyd", "kitty-agent", "kitty-guard", "kittyctl", "shop"] {
        let place = examples.parent().unwrap().join(if name == "shop" { "examples/shop" } else { name });
        fs::hard_link(built(name), &place).or_else(|_| fs::copy(built(name), &place).map(drop)).unwrap();
    }
    let temporary = sandbox.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    for folder in [sandbox.path(), &temporary] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
    }
    let script = script
        .replace("cargo build --workspace --bins --examples\n", "")
        .replace("kittyd >", "kittyd --listen unix:chaos_kitty.ipc >");
    let path = sandbox.path().join("pasted.sh");
    fs::write(&path, format!("set -eu\n{script}")).unwrap();
    let mut command = Command::new("bash");
    // Line by line, as from a keyboard.
    command.stdin(fs::File::open(&path).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.current_dir(sandbox.path()).env("TMPDIR", &temporary).env_remove("KITTY_SERVER");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    sandbox.finish(command)
}

/// This test's own user, and where that is root, an ordinary one.
fn users() -> Vec<Option<u32>> {
    let root = rustix::process::geteuid().is_root();
    if root { vec![None, Some(ORDINARY)] } else { vec![None] }
}

#[test]
fn the_tour_of_the_readme_works_as_it_is_pasted() {
    let tour = blocks("README.md", "## A tour in five minutes", "\n### ");
    for user in users() {
        let done = paste(&tour, user);
        assert_eq!(done.code, 0, "as {user:?}: {done}");
        for seen in ["nap:", "till", "REVERTED", "halted in", "FINISHED"] {
            assert!(done.stdout.contains(seen), "as {user:?}, {seen}: {done}");
        }
    }
}

#[test]
fn a_newcomer_sees_the_first_effect_on_a_process_of_their_own() {
    let page = blocks("docs/processes.md", "# Processes as targets", "\n## Which flag");
    for user in users() {
        let done = paste(&page, user);
        assert_eq!(done.code, 0, "as {user:?}: {done}");
        for seen in ["ok       rule clock matches 1 target now", "it stood still", "it goes on", "REVERTED"] {
            assert!(done.stdout.contains(seen), "as {user:?}, {seen}: {done}");
        }
    }
}
