//! The store's disk is full: reported, nothing else disturbed, and over once there is room.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use chaos_kitty::{Problem, v1};
use chaos_kitty_tests::{
    Sandbox, eventually,
    process::{Process, state},
};
use rustix::process::Signal;
use tokio::net::UnixStream;

/// kittyd in a mount namespace of its own, with its store on a small file system; gone when it ends.
fn on_a_small_disk(sandbox: &Sandbox) -> Process {
    fs::create_dir(sandbox.path().join("disk")).unwrap();
    let script = "mount -t tmpfs -o size=1m none disk && exec \"$0\" --listen unix:chaos_kitty.ipc --store disk/kitty.db";
    let mut command = Command::new("unshare");
    command.current_dir(sandbox.path()).args(["--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(sandbox.command("kittyd").get_program());
    Process::start("kittyd", command, sandbox.path())
}

fn put(number: usize) -> v1::PutOperationRequest {
    let yowl = v1::Yowl { messages: vec!["x".repeat(200); 50], duration: None };
    v1::PutOperationRequest {
        operation: Some(v1::Operation {
            name: format!("yowl-{number}"),
            kind: Some(v1::operation::Kind::Yowl(yowl)),
            ..Default::default()
        }),
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_over_once_there_is_room() {
    let sandbox = Sandbox::new();
    let mut process = on_a_small_disk(&sandbox);
    let socket = sandbox.path().join("chaos_kitty.ipc");
    eventually("kittyd listens", async || UnixStream::connect(&socket).await.ok()).await;
    let endpoint = chaos_kitty::endpoint::Endpoint::Unix(socket);
    let mut client = chaos_kitty::client::dial(&endpoint, &Default::default()).await.unwrap();
    client.put_operation(put(0)).await.unwrap();

    let filler = format!("/proc/{}/root{}/disk/filler", process.pid(), sandbox.path().display());
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}

    let mut number = 1;
    let refused = loop {
        match client.put_operation(put(number)).await {
            Ok(_) => number += 1,
            Err(status) => break Problem::from(status),
        }
    };
    assert_eq!(refused.code.number(), 62013, "{refused}");
    assert!(refused.hint.contains("room"), "{refused}");
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert!(!status.store_problem.is_empty());
    let operations = client.list_operations(v1::ListOperationsRequest::default()).await.unwrap().into_inner();
    assert_eq!(operations.operations.len(), number, "what was put before still runs");

    drop(file);
    fs::remove_file(&filler).unwrap();
    eventually("the store recovers by itself", async || {
        let status = client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
        status.store_problem.is_empty().then_some(())
    })
    .await;
    client.put_operation(put(number)).await.unwrap();
    assert!(process.is_running());
}

#[tokio::test]
async fn a_halt_reverts_everything_although_the_disk_is_full() {
    let sandbox = Sandbox::new();
    let server = on_a_small_disk(&sandbox);
    let socket = sandbox.path().join("chaos_kitty.ipc");
    eventually("kittyd listens", async || UnixStream::connect(&socket).await.ok()).await;
    let endpoint = chaos_kitty::endpoint::Endpoint::Unix(socket);
    let mut client = chaos_kitty::client::dial(&endpoint, &Default::default()).await.unwrap();
    let program = sandbox.path().join("nap-full");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    let victim = Process::start("nap-full", command, sandbox.path());
    let mut command = sandbox.command("kitty-agent");
    command.args(["--server", &endpoint.to_string(), "--name", "web-1", "--process", "nap-full"]);
    command.arg("--state").arg(sandbox.path().join("web-1.state"));
    let _agent = Process::start("web-1", command, sandbox.path());
    let request = v1::UnleashRequest {
        action: Some(v1::Action {
            duration: Some(std::time::Duration::from_secs(300).into()),
            kind: Some(v1::action::Kind::Delay(v1::Delay::default())),
        }),
        choice: Some(v1::unleash_request::Choice::Target("process/web-1/nap-full".to_owned())),
        ..Default::default()
    };
    let _updates =
        eventually("it is unleashed", async || client.clone().unleash(request.clone()).await.ok()).await;
    eventually("it stands still", async || (state(victim.pid()) == Some('T')).then_some(())).await;
    let filler = format!("/proc/{}/root{}/disk/filler", server.pid(), sandbox.path().display());
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}

    let mut progress = client.halt(v1::HaltRequest::default()).await.unwrap().into_inner();
    let mut summary = None;
    while let Some(message) = progress.message().await.unwrap() {
        if let Some(v1::halt_progress::Kind::Summary(last)) = message.kind {
            summary = Some(last);
        }
    }
    let summary = summary.unwrap();
    assert_eq!((summary.reverted, summary.left), (1, 0), "{summary:?}");
    assert_ne!(state(victim.pid()), Some('T'));
    assert!(client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner().halted);
}

/// A small file system of its own, for as long as it lives, and kittyd on it.
struct SmallDisk {
    sandbox: Sandbox,
    holder: Process,
}

impl SmallDisk {
    async fn new() -> Self {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path().join("disk")).unwrap();
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=600k none disk && touch disk/mounted && exec sleep 600";
        command.current_dir(sandbox.path()).args(["--map-root-user", "--mount", "sh", "-c", script]);
        let holder = Process::start("holder", command, sandbox.path());
        let disk = Self { sandbox, holder };
        eventually("the disk is there", async || disk.path("mounted").exists().then_some(())).await;
        disk
    }

    /// A file on it, as seen from outside.
    fn path(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root{}/disk", self.holder.pid(), self.sandbox.path().display());
        Path::new(&root).join(name)
    }

    fn kittyd(&self) -> Process {
        let mut command = Command::new("nsenter");
        let target = self.holder.pid().to_string();
        let flags = ["--user", "--preserve-credentials", "--mount", "--target", &target, "sh", "-c"];
        let script = "cd \"$1\" && exec \"$0\" --listen unix:chaos_kitty.ipc --store disk/kitty.db";
        command
            .args(flags)
            .arg(script)
            .arg(self.sandbox.command("kittyd").get_program())
            .arg(self.sandbox.path());
        Process::start("kittyd", command, self.sandbox.path())
    }

    async fn client(&self) -> chaos_kitty::client::Client {
        let endpoint = chaos_kitty::endpoint::Endpoint::Unix(self.sandbox.path().join("chaos_kitty.ipc"));
        eventually("kittyd answers", async || {
            let mut client = chaos_kitty::client::dial(&endpoint, &Default::default()).await.ok()?;
            client.get_status(v1::GetStatusRequest {}).await.ok().map(|_| client)
        })
        .await
    }

    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.path("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }
}

#[tokio::test]
async fn on_a_full_disk_a_server_starts_for_halt_and_stop() {
    for ending in [Signal::KILL, Signal::TERM] {
        let disk = SmallDisk::new().await;
        let mut server = disk.kittyd();
        let mut client = disk.client().await;
        client.put_operation(put(0)).await.unwrap();
        let status = async |client: &mut chaos_kitty::client::Client| {
            client.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner()
        };
        let before = status(&mut client).await.epoch;
        disk.fill();
        server.signal(ending);
        server.ended().await;
        // What the end of it gave back is gone, too.
        disk.fill();

        let mut server = disk.kittyd();
        let mut client = disk.client().await;
        let now = status(&mut client).await;
        assert!(now.epoch > before && !now.store_problem.is_empty(), "{ending:?}: {now:?}");
        let refused = Problem::from(client.put_operation(put(1)).await.unwrap_err());
        assert_eq!(refused.code.number(), 62013, "{ending:?}: {refused}");
        let mut halt = client.halt(v1::HaltRequest::default()).await.unwrap().into_inner();
        while halt.message().await.unwrap().is_some() {}
        assert!(status(&mut client).await.halted);

        fs::remove_file(disk.path("filler")).unwrap();
        eventually("the store takes writes again", async || {
            client.put_operation(put(2)).await.ok().map(drop)
        })
        .await;
        assert_eq!(status(&mut client).await.store_problem, "");
        server.signal(Signal::TERM);
        server.ended().await;
        let _server = disk.kittyd();
        assert!(status(&mut disk.client().await).await.epoch > now.epoch, "what was owed was written");
    }
}
