//! A client in another language: the Python worker of `clients/python`, on code generated from the protos.

use std::{path::Path, process::Command, time::Duration};

use chaos_kitty::v1::{
    self, action::Kind as Do, action_result::Kind as Figures, action_state::Name as State,
};
use chaos_kitty_tests::{Sandbox, eventually, process::Process};

const SECOND: Duration = Duration::from_secs(1);

/// Starts the Python shop on freshly generated code.
fn python_shop(sandbox: &Sandbox, server: &str) -> Process {
    let python = std::env::var("KITTY_TEST_PYTHON")
        .expect("KITTY_TEST_PYTHON names a Python with clients/python/requirements.txt (tests/run sets it)");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (protos, out) = (root.join("proto"), sandbox.path().display());
    let mut generate = Command::new(&python);
    generate.args(["-m", "grpc_tools.protoc", "-I"]).arg(&protos);
    generate.args([format!("--python_out={out}"), format!("--grpc_python_out={out}")]);
    let files = std::fs::read_dir(protos.join("chaoskitty/v1")).unwrap().map(|file| file.unwrap().path());
    generate.args(files);
    let done = sandbox.finish(generate);
    assert_eq!(done.code, 0, "{done}");

    let mut shop = Command::new(&python);
    shop.arg(root.join("clients/python/shop.py")).args(["--server", server, "--name", "snake"]);
    shop.env("PYTHONPATH", sandbox.path()).env("PYTHONDONTWRITEBYTECODE", "1").current_dir(sandbox.path());
    Process::start("snake", shop, sandbox.path())
}

fn held(duration: Duration, kind: Do) -> v1::Action {
    v1::Action { duration: Some(duration.into()), kind: Some(kind) }
}

#[tokio::test]
async fn a_python_worker_is_seen_and_takes_each_action() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut shop = python_shop(&sandbox, &server.address());
    let target = server.target("snake").await;
    assert_eq!(target.pids, [shop.pid()]);
    let listed = sandbox.kittyctl(&server.address(), &["target", "list", "-o", "json"]);
    assert!(listed.stdout.contains("\"snake\""), "{listed}");

    let unleash = async |action| {
        let status = server.unleash("snake", action).await.unwrap();
        assert!(matches!(status.state(), State::Reverted | State::Done), "{status:?}");
        status.result.clone().and_then(|result| result.kind).unwrap_or_else(|| panic!("{status:?}"))
    };

    let Figures::Delay(delay) = unleash(held(SECOND, Do::Delay(v1::Delay::default()))).await else {
        panic!()
    };
    assert!(Duration::try_from(delay.held.unwrap()).unwrap() >= SECOND, "{delay:?}");
    eventually("the loop says that it stood still", async || shop.stdout().find("stood still")).await;

    let size_bytes = 64 << 20;
    let memory = unleash(held(SECOND / 2, Do::Memory(v1::AllocateMemory { size_bytes }))).await;
    let Figures::Memory(memory) = memory else { panic!("{memory:?}") };
    assert_eq!(memory.resident_bytes, size_bytes);

    let cpu = unleash(held(SECOND, Do::Cpu(v1::SpinCpu { cores: 1, load: 40 }))).await;
    let Figures::Cpu(cpu) = cpu else { panic!("{cpu:?}") };
    assert!(cpu.achieved_load > 5.0 && cpu.achieved_load < 60.0, "{cpu:?}");

    let gc = unleash(v1::Action { duration: None, kind: Some(Do::Gc(v1::TriggerGc {})) }).await;
    let Figures::Gc(gc) = gc else { panic!("{gc:?}") };
    assert!(gc.collections_after > gc.collections_before, "{gc:?}");

    let error = v1::RaiseError { message: "hiss".to_owned(), count: 3, ..Default::default() };
    let error = unleash(held(60 * SECOND, Do::Error(error))).await;
    let Figures::Error(error) = error else { panic!("{error:?}") };
    assert_eq!(error.failed, 3);
    let failures = async || (shop.stdout().matches("failed: hiss").count() == 3).then_some(());
    eventually("the loop says that it failed three times", failures).await;

    let kill = Do::Kill(v1::Kill { signal: "KILL".to_owned(), ..v1::Kill::default() });
    let over = server.unleash("snake", v1::Action { duration: None, kind: Some(kill) }).await.unwrap();
    assert!(matches!(over.state(), State::Done | State::Failed), "{over:?}");
    let status = shop.ended().await;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}
