//! A Java virtual machine as a target, with no JDK on the agent's side.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use chaos_kitty::v1::{self, ActionStatus, action::Kind, action_result, action_state::Name as State};
use chaos_kitty_tests::{
    Sandbox, Server, docker,
    process::{Process, is_alive, wait_for},
};

use crate::docker::Bed;

/// The RMI registry is part of every runtime, and does nothing until somebody asks it.
const IDLE: [&str; 4] = ["-Xmx64m", "-m", "java.rmi/sun.rmi.registry.RegistryImpl", "0"];

/// A virtual machine. Killed when dropped, and what it would have removed at its end is removed.
struct Machine(Process);

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill();
        let pid = self.0.pid();
        for left in [format!("/tmp/.java_pid{pid}"), format!("/tmp/hsperfdata_root/{pid}")] {
            _ = fs::remove_file(left);
        }
    }
}

/// One that does nothing. `mark` is in its command line.
fn machine(sandbox: &Sandbox, mark: &str, flags: &[&str]) -> Machine {
    let mut command = Command::new("java");
    command.arg(format!("-Dmark={mark}")).args(flags).args(IDLE);
    let process = Process::start(mark, command, sandbox.path());
    wait_until_started(process.pid());
    Machine(process)
}

/// Waits until an idle machine listens.
fn wait_until_started(pid: u32) {
    let listens = || {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        let mut links = descriptors.filter_map(|one| fs::read_link(one.ok()?.path()).ok());
        links.any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    wait_for("the virtual machine has started", listens);
}

async fn collect(server: &Server, name: &str) -> ActionStatus {
    let target = server.target(name).await;
    let action = v1::Action { duration: None, kind: Some(Kind::Gc(v1::TriggerGc {})) };
    server.unleash(&target.id, action).await.unwrap()
}

/// A collection happened, and left less than there was.
fn collected(status: ActionStatus) -> v1::GcResult {
    assert_eq!(status.state(), State::Done, "{status:?}");
    let Some(action_result::Kind::Gc(figures)) = status.result.unwrap().kind else { panic!("no figures") };
    assert!(figures.bytes_after < figures.bytes_before, "{figures:?}");
    figures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_shows_in_the_used_heap_and_a_machine_that_it_would_end_is_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let config = sandbox.path().join("agent.toml");
    let mark = format!("kitty-{}", std::process::id());
    let rule =
        format!("[[process]]\nname = 'jvm'\ncommand_line = '-Dmark={mark}'\ntarget_name = '-Dmark=(\\S+)'\n");
    fs::write(&config, rule).unwrap();
    let _agent = sandbox.agent(&server, "host-1", &["--config", config.to_str().unwrap()]).await;

    let plain = format!("{mark}-plain");
    let _machine = machine(&sandbox, &plain, &[]);
    let figures = collected(collect(&server, &plain).await);
    assert!(figures.collections_after > figures.collections_before, "{figures:?}");

    let deaf = format!("{mark}-deaf");
    let machine = machine(&sandbox, &deaf, &["-Xrs"]);
    let status = collect(&server, &deaf).await;
    assert_eq!(status.state(), State::Refused, "{status:?}");
    assert_eq!(status.problem.unwrap().code, 63002);
    assert!(is_alive(machine.0.pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_in_a_container_is_told_to_collect_from_outside() {
    let program = which("java");
    // Debian keeps what configures a runtime outside of it.
    let settings = fs::canonicalize(program.ancestors().nth(2).unwrap().join("lib/jvm.cfg")).unwrap();
    let folders = [Path::new("/usr"), Path::new("/lib"), Path::new("/lib64"), settings.parent().unwrap()];
    let mounts = folders.map(|folder| format!("--volume={0}:{0}:ro", folder.display()));
    let bed = Bed::with(&[]).await;
    let options: Vec<_> = mounts.iter().map(String::as_str).chain(["--tmpfs=/tmp"]).collect();
    let command = [&[program.to_str().unwrap()], &IDLE[..]].concat();
    bed.docker.container("jvm", &options, docker::SHELL, &command);
    // Beside the machine, what it shares its container with is not taken for one.
    bed.docker.must(&["exec", "--detach", "jvm", "sleep", "3600"]);
    let _agent = bed.agent(&["--docker", "jvm"]).await;
    bed.server.target("jvm").await;
    let pid = bed.docker.pid("jvm");
    wait_until_started(pid);
    collected(collect(&bed.server, "jvm").await);
    assert_eq!(bed.docker.pid("jvm"), pid, "it was not restarted");
}

/// The file behind a program's name.
fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    fs::canonicalize(found.unwrap_or_else(|| panic!("{program}: tests/run installs it"))).unwrap()
}
