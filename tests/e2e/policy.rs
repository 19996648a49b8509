//! The owner of a host has the last word: the agent's own policy file, which no server can override.

use std::{fs, path::PathBuf, process::Command};

use chaos_kitty_tests::{Finished, Sandbox, Server, process::Process};

fn written(sandbox: &Sandbox, policy: &str) -> PathBuf {
    let path = sandbox.path().join("policy.toml");
    fs::write(&path, policy).unwrap();
    path
}

fn sleeper(sandbox: &Sandbox, name: &str) -> Process {
    let program = sandbox.path().join(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    Process::start(name, command, sandbox.path())
}

fn delay(sandbox: &Sandbox, server: &Server, target: &str, duration: &str) -> Finished {
    let line = ["unleash", "delay", "--target", target, "--duration", duration];
    sandbox.kittyctl(&server.address(), &line)
}

#[tokio::test]
async fn what_policy_forbids_is_refused_with_its_rule_and_what_it_protects_is_left_alone() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let text = "deny = ['cpu']\nmax_duration = '2s'\nprotect = ['kitty-pol-db:*']\n";
    let policy = written(&sandbox, text);
    let (web, db) = (sleeper(&sandbox, "kitty-pol-web"), sleeper(&sandbox, "kitty-pol-db"));
    let flags =
        ["--process", "kitty-pol-web", "--process", "kitty-pol-db", "--policy", policy.to_str().unwrap()];
    let _agent = sandbox.agent(&server, "a", &flags).await;
    let (web, db) = (format!("kitty-pol-web:{}", web.pid()), format!("kitty-pol-db:{}", db.pid()));
    server.target(&web).await;
    server.target(&db).await;
    let cpu = ["unleash", "cpu", "--target", &web, "--load", "10", "--duration", "1s"];
    let denied = sandbox.kittyctl(&server.address(), &cpu);
    assert!(denied.code != 0 && denied.stderr.contains("61004") && denied.stderr.contains("cpu"), "{denied}");
    let long = delay(&sandbox, &server, &web, "3s");
    assert!(long.code != 0 && long.stderr.contains("61004"), "{long}");
    assert!(long.stderr.contains("max_duration"), "{long}");
    let protected = delay(&sandbox, &server, &db, "10ms");
    assert!(protected.code != 0 && protected.stderr.contains("61005"), "{protected}");
    let allowed = delay(&sandbox, &server, &web, "10ms");
    assert_eq!(allowed.code, 0, "{allowed}");
}

#[test]
fn an_agent_with_a_malformed_policy_does_not_start_and_says_where_the_mistake_is() {
    let sandbox = Sandbox::new();
    let policy = written(&sandbox, "max_cpu = 50\nmax_duraton = '1m'\n");
    for subcommand in [&["check"][..], &[]] {
        let mut command = sandbox.command("kitty-agent");
        command.args(subcommand).args(["--process", "x", "--state", "s", "--policy"]).arg(&policy);
        let ended = sandbox.finish(command);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(
            ended.code != 0 && said.contains("line 2, column 1") && said.contains("max_duraton"),
            "{ended}"
        );
    }
}

#[test]
fn check_tells_what_policy_forbids() {
    let sandbox = Sandbox::new();
    let policy = written(&sandbox, "deny = ['script']\nmax_faults = 3\n");
    let mut command = sandbox.command("kitty-agent");
    command.args(["check", "--process", "x", "--state", "s", "--policy"]).arg(&policy);
    let told = sandbox.finish(command);
    assert_eq!(told.code, 0, "{told}");
    for line in ["actions: script\n", "more than 3 faults at a time\n", "programs of this host as probes: "] {
        let line = format!("policy   forbids {line}");
        assert!(told.stdout.contains(&line), "{told}");
    }
}
