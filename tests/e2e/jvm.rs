//! A Java virtual machine as a target, with no JDK on the agent's side.

use std::process::Command;

use chaos_kitty::v1::{self, ActionStatus, action::Kind, action_result, action_state::Name as State};
use chaos_kitty_tests::{
    Sandbox, Server,
    process::{Process, is_alive, wait_for},
};

/// A virtual machine. Killed when dropped, and what it would have removed at its end is removed.
struct Machine(Process);

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill();
        let pid = self.0.pid();
        for left in [format!("/tmp/.java_pid{pid}"), format!("/tmp/hsperfdata_root/{pid}")] {
            _ = std::fs::remove_file(left);
        }
    }
}

/// One that does nothing; the RMI registry is part of every runtime. `mark` is in its command line.
fn machine(sandbox: &Sandbox, mark: &str, flags: &[&str]) -> Machine {
    let mut command = Command::new("java");
    command.args(["-Xmx64m", &format!("-Dmark={mark}")]).args(flags);
    command.args(["-m", "java.rmi/sun.rmi.registry.RegistryImpl", "0"]);
    let process = Process::start(mark, command, sandbox.path());
    let listens = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).into_iter().flatten();
        let mut links = descriptors.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
        links.any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    wait_for("the virtual machine has started", listens);
    Machine(process)
}

async fn collect(server: &Server, name: &str) -> ActionStatus {
    let target = server.target(name).await;
    let action = v1::Action { duration: None, kind: Some(Kind::Gc(v1::TriggerGc {})) };
    server.unleash(&target.id, action).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_shows_in_the_used_heap_and_a_machine_that_it_would_end_is_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let config = sandbox.path().join("agent.toml");
    let mark = format!("kitty-{}", std::process::id());
    let rule =
        format!("[[process]]\nname = 'jvm'\ncommand_line = '-Dmark={mark}'\ntarget_name = '-Dmark=(\\S+)'\n");
    std::fs::write(&config, rule).unwrap();
    let _agent = sandbox.agent(&server, "host-1", &["--config", config.to_str().unwrap()]).await;

    let plain = format!("{mark}-plain");
    let _machine = machine(&sandbox, &plain, &[]);
    let status = collect(&server, &plain).await;
    assert_eq!(status.state(), State::Done, "{status:?}");
    match status.result.unwrap().kind.unwrap() {
        action_result::Kind::Gc(figures) => {
            assert!(figures.collections_after > figures.collections_before, "{figures:?}");
            assert!(figures.bytes_after < figures.bytes_before, "{figures:?}");
        }
        other => panic!("{other:?}"),
    }

    let deaf = format!("{mark}-deaf");
    let machine = machine(&sandbox, &deaf, &["-Xrs"]);
    let status = collect(&server, &deaf).await;
    assert_eq!(status.state(), State::Refused, "{status:?}");
    assert_eq!(status.problem.unwrap().code, 63002);
    assert!(is_alive(machine.0.pid()));
}
