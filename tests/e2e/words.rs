//! What the programs say, and what they make of what people write.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use chaos_kitty_tests::{Finished, Sandbox, built};

use crate::cli::Stage;

fn run(sandbox: &Sandbox, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = sandbox.command(program);
    command.args(arguments).envs(variables.iter().copied()).env("NO_COLOR", "1");
    sandbox.finish(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suite_of_any_editor_with_null_and_a_duration_in_words_is_built() {
    let stage = Stage::set().await;
    let group = stage.target.split(['/', ':']).nth(2).unwrap();
    let json = format!(
        r#"{{"platformType": "ProcessPlatform", "name": null, "duration": "2m", "experimentCriteria":
            [{{"containerIdentifier": "{group}", "experimentMethods": ["delay"], "specificContainerTargets": null}}]}}"#
    );
    let wide: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain(json.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    for (name, bytes) in [("marked", [b"\xef\xbb\xbf", json.as_bytes()].concat()), ("wide", wide)] {
        let path = stage.sandbox.path().join(name);
        fs::write(&path, bytes).unwrap();
        let done = stage.kittyctl(&["experiment", "build", "-f", path.to_str().unwrap(), "--dry-run"]);
        // It was read whole, and is refused for its group alone.
        assert!(done.code == 1 && done.stderr.contains("error: 13004: "), "{name}: {done}");
    }
    let path = stage.sandbox.path().join("latin");
    fs::write(&path, b"{\"name\": \"caf\xe9\"}").unwrap();
    let refused = stage.kittyctl(&["experiment", "build", "-f", path.to_str().unwrap(), "--dry-run"]);
    assert!(refused.code == 2 && refused.stderr.contains("save it as UTF-8"), "{refused}");
}

#[test]
fn settings_with_a_mark_are_read() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("kitty.toml"), b"\xef\xbb\xbflog = \"warn\"\n").unwrap();
    for program in ["kittyd", "kitty-agent"] {
        let dumped = run(&sandbox, program, &["--config", "kitty.toml", "--dump-config"], &[]);
        assert!(dumped.code == 0 && dumped.stdout.contains("log = \"warn\""), "{program}: {dumped}");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_said() {
    let sandbox = Sandbox::new();
    for (program, arguments) in [
        ("kittyctl", &["completion", "bash"][..]),
        ("kittyd", &["--dump-config"]),
        ("kitty-agent", &["--dump-config"]),
    ] {
        let done =
            run(&sandbox, program, arguments, &[("KITTY_TLS_CERTT", "x"), ("KITTY_TEST_PATIENCE", "30")]);
        assert_eq!(done.code, 0, "{program}: {done}");
        assert!(
            done.stderr.contains("KITTY_TLS_CERTT") && done.stderr.contains("did you mean KITTY_TLS_CERT?"),
            "{done}"
        );
        assert_eq!(done.stderr.lines().count(), 1, "{program}: {done}");
    }
}

#[test]
fn a_rule_without_a_name_names_the_way_out_and_its_number_once() {
    let sandbox = Sandbox::new();
    let refused = run(&sandbox, "kitty-agent", &["--process", "猫", "--state", "state"], &[]);
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.stderr.contains("NAME=PATTERN"), "{refused}");
    assert_eq!(refused.stderr.matches("63014").count(), 1, "{refused}");
}

#[test]
fn check_says_what_each_rule_matches() {
    let sandbox = Sandbox::new();
    // Two programs of this test's own, so that it does not matter what else runs here.
    let _two = ["one", "two"].map(|name| {
        let program = sandbox.path().join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        let mut command = std::process::Command::new(program);
        command.arg("600");
        chaos_kitty_tests::process::Process::start(name, command, sandbox.path())
    });
    let rule = format!("me={}/(one|two)", sandbox.path().display());
    let line = ["check", "--state", "state", "--process", "no such cat", "--process-command", &rule];
    let checked = run(&sandbox, "kitty-agent", &line, &[]);
    assert!(checked.stdout.contains("warning  rule no-such-cat matches nothing now"), "{checked}");
    assert!(checked.stdout.contains("warning  rule me matches"), "{checked}");
    assert!(checked.stdout.contains("different programs"), "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_open_to_this_user_is_told_as_that() {
    let stage = Stage::set().await;
    let folder = stage.sandbox.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.join("chaos_kitty.ipc"), fs::Permissions::from_mode(0o000)).unwrap();
    // Where another user finds it.
    let program = folder.join("kittyctl");
    fs::hard_link(built("kittyctl"), &program)
        .or_else(|_| fs::copy(built("kittyctl"), &program).map(drop))
        .unwrap();
    // No mode keeps root out.
    let user = if rustix::process::geteuid().is_root() { 1000 } else { rustix::process::geteuid().as_raw() };
    for flags in [&["--server", &stage.server.address(), "status"][..], &["status"]] {
        let mut command = Command::new(&program);
        command.args(flags).current_dir(folder).env_remove("KITTY_SERVER").uid(user);
        let done = stage.sandbox.finish(command);
        assert_eq!(done.code, 4, "{done}");
        assert!(done.stderr.contains("permission denied") && done.stderr.contains("mode 0000"), "{done}");
        assert!(!done.stderr.contains("start kittyd"), "{done}");
    }
}
