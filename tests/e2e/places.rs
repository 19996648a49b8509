//! Places are kept for whoever has to act, however many others come.

use std::{net::TcpStream, os::unix::net::UnixStream, process::Command};

use chaos_kitty::endpoint::Endpoint;
use chaos_kitty_tests::{Sandbox, eventually, process::Process};

/// A program of the project below a limit on open files.
fn limited(sandbox: &Sandbox, descriptors: u32, program: &str, flags: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors} && exec \"$0\" {flags}");
    command.current_dir(sandbox.path()).args(["-c", &script]).arg(sandbox.command(program).get_program());
    command
}

#[tokio::test]
async fn with_few_descriptors_a_flood_by_tcp_leaves_room_for_a_halt() {
    for descriptors in [64, 300] {
        let sandbox = Sandbox::new();
        let flags = "--listen unix:chaos_kitty.ipc --listen http://127.0.0.1:0 --store k.db";
        let server =
            Process::start("kittyd", limited(&sandbox, descriptors, "kittyd", flags), sandbox.path());
        let status = eventually("kittyd listens", async || {
            let status = sandbox.kittyctl("unix:chaos_kitty.ipc", &["-o", "json", "status"]);
            (status.code == 0).then(|| status.json())
        })
        .await;
        assert!(server.stderr().contains("the limit on open files is low"), "{}", server.stderr());
        let listening = status["listening"].as_array().unwrap();
        let tcp = listening.iter().find_map(|address| address.as_str()?.strip_prefix("http://")).unwrap();
        let mut flood = Vec::new();
        for _ in 0..2 * descriptors {
            flood.extend(TcpStream::connect(tcp).ok());
        }
        let halted = sandbox.kittyctl("unix:chaos_kitty.ipc", &["halt"]);
        assert_eq!(halted.code, 0, "with {descriptors}: {halted}");
    }
}

#[tokio::test]
async fn one_process_does_not_take_all_places_of_an_agents_socket() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let agent = sandbox.agent(&server, "web-1", &[]).await;
    let Endpoint::Unix(path) = agent.local() else { panic!("a Unix socket") };
    let greedy: Vec<_> = (0..1100).filter_map(|_| UnixStream::connect(&path).ok()).collect();
    assert!(greedy.len() > 1000);
    let _shop = sandbox.shop("till", &agent.local().to_string()).await;
    server.target("till").await;
    assert!(agent.process.stderr().contains("closed at once"), "{}", agent.process.stderr());
}
