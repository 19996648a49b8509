//! What connects to kittyd is not always a friend: garbage, silence, more connections than descriptors.

use std::time::Duration;

use chaos_kitty_tests::{Sandbox, Server, eventually, http, process::cpu_time};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Half-open connections are closed after 10 s; this is generous.
const LONG: Duration = Duration::from_secs(60);

fn garbage() -> Vec<Vec<u8>> {
    vec![
        b"\xc1\xd4\xff\x00".repeat(1024),
        b"hello kitty\n".to_vec(),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".to_vec(),
        [PREFACE, &[0xff; 9000]].concat(),
        // A frame header that promises 16 MiB, and an array32 as the earlier system would read it.
        [PREFACE, b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"].concat(),
        b"\xdd\xff\xff\xff\xff".repeat(4096),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)).into_bytes(),
        b"POST /action HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\n".to_vec(),
    ]
}

async fn told_and_closed(mut io: impl AsyncReadExt + AsyncWriteExt + Unpin, bytes: &[u8]) {
    // It may be closed before everything is sent.
    let _ = io.write_all(bytes).await;
    let _ = io.shutdown().await;
    let closed = timeout(LONG, io.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "{:?} keeps its connection", &bytes[..4]);
}

async fn tcp(server: &Server) -> TcpStream {
    TcpStream::connect(server.tcp().await.trim_start_matches("http://")).await.unwrap()
}

async fn unix(sandbox: &Sandbox) -> UnixStream {
    UnixStream::connect(sandbox.path().join("chaos_kitty.ipc")).await.unwrap()
}

#[tokio::test]
async fn garbage_on_every_listener_disturbs_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut events =
        server.client().await.watch_events(chaos_kitty::v1::WatchEventsRequest::default()).await.unwrap();
    for bytes in garbage() {
        told_and_closed(unix(&sandbox).await, &bytes).await;
        told_and_closed(tcp(&server).await, &bytes).await;
    }
    let status = server.status().await;
    assert_eq!(status.agents, 0);
    let quiet = timeout(Duration::from_millis(50), events.get_mut().message()).await;
    assert!(quiet.is_err(), "the watcher's stream still stands");
}

#[tokio::test]
async fn two_hundred_half_open_connections_are_closed_and_cost_nobody_an_answer() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let mut half_open = Vec::new();
    for begun in [&b""[..], PREFACE, b"GET /sta", b"PRI * HT"] {
        for _ in 0..25 {
            let (mut one, mut two) = (tcp(&server).await, unix(&sandbox).await);
            one.write_all(begun).await.unwrap();
            two.write_all(begun).await.unwrap();
            half_open.push((one, two));
        }
    }
    assert_eq!(server.status().await.workers, 0, "it answers meanwhile");
    for (mut one, mut two) in half_open {
        let closed = async {
            let _ = one.read_to_end(&mut Vec::new()).await;
            let _ = two.read_to_end(&mut Vec::new()).await;
        };
        timeout(LONG, closed).await.expect("a half-open connection is closed");
    }
    assert!(server.status().await.losses["connections_silent"] >= 100);
}

#[tokio::test]
async fn out_of_descriptors_it_waits_without_spinning_and_goes_on() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let address = server.tcp().await;
    let pid = Pid::from_raw(server.process.pid().try_into().unwrap());
    // A child's limit may be lowered and raised again below its maximum, which is this process's own.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(8), maximum }).unwrap();
    let waiting = tokio::spawn(async move { http::request(&address, "GET", "/health", &[], "").await });
    eventually("kittyd says that it can not accept", async || {
        server.process.stderr().contains("not accepted at present").then_some(())
    })
    .await;
    let used = cpu_time(server.process.pid()).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await; // the time over which the load is measured
    let spent = cpu_time(server.process.pid()).unwrap() - used;
    assert!(spent < Duration::from_millis(500), "it spins: {spent:?} of processor time in a second");
    prlimit(pid, Resource::Nofile, before).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), (200, "\"OK\"".to_owned()));
    assert!(server.status().await.losses["connections_not_accepted"] > 0);
    let log = server.process.stderr();
    assert_eq!(log.matches("not accepted at present").count(), 1, "{log}");
}

#[tokio::test]
async fn of_more_connections_than_there_is_room_for_the_last_are_turned_away() {
    let sandbox = Sandbox::new();
    let mut command = std::process::Command::new("sh");
    let kittyd = sandbox.command("kittyd").get_program().to_owned();
    command.current_dir(sandbox.path()).args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]).arg(kittyd);
    command.args(["--listen", "unix:chaos_kitty.ipc"]);
    let process = chaos_kitty_tests::process::Process::start("kittyd", command, sandbox.path());
    let socket = sandbox.path().join("chaos_kitty.ipc");
    eventually("kittyd listens", async || UnixStream::connect(&socket).await.ok()).await;
    let mut all = Vec::new();
    for _ in 0..80 {
        all.push(unix(&sandbox).await);
    }
    let mut last = all.pop().unwrap();
    let read = timeout(LONG, last.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(all);
    // Room again: the next is served.
    let served = eventually("a request is answered", async || {
        let mut io = UnixStream::connect(&socket).await.ok()?;
        io.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.ok()?;
        (!answer.is_empty()).then_some(answer)
    })
    .await;
    assert!(served.starts_with("HTTP/1.1 200"), "{served}");
    drop(process);
}

#[tokio::test]
async fn an_agent_costs_the_server_one_descriptor_and_a_worker_whose_end_is_seen_two() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let descriptors = || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", server.process.pid())).unwrap();
        let names: Vec<_> = links
            .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
            .map(|path| path.display().to_string())
            .collect();
        let pidfds = names.iter().filter(|name| name.contains("pidfd")).count();
        (pidfds, names.iter().filter(|name| name.starts_with("socket:")).count())
    };
    let before = descriptors();
    assert_eq!(before.0, 0);
    let _agent = sandbox.agent(&server, "web-1", &[]).await;
    // Those who asked whether it is there have hung up.
    let settled = async |expected| {
        eventually("only those who stay are connected", async || (descriptors() == expected).then_some(()))
            .await;
    };
    settled((0, before.1 + 1)).await;
    let _shop = sandbox.shop("till", &server.address()).await;
    server.target("till").await;
    settled((1, before.1 + 2)).await;
}
