//! An agent that runs in a container itself.

use std::{fs, time::Duration};

use chaos_kitty::v1::{self, Delay, Stop, action::Kind, action_state::Name as State};
use chaos_kitty_tests::{
    built,
    docker::SHELL,
    eventually,
    process::{children, name},
};

use crate::docker::{Bed, POLITE, STUBBORN};

const BASE: &str = "kitty/base:1";

/// A container that offers itself, in a group of its own.
fn offered(bed: &Bed, name: &str, command: &[&str]) {
    let service = format!("com.docker.compose.service={name}");
    let options = ["--label", "chaoskitty=true", "--label", &service, "--stop-timeout", "4"];
    bed.docker.container(name, &options, SHELL, command);
}

/// Starts it as docker-compose.yml does, but that nothing starts it again.
fn contained_agent(bed: &Bed) {
    let program = built("kitty-agent");
    bed.docker.make_base(BASE, &program);
    let (socket, address) = (bed.docker.socket(), bed.server.address());
    let [sandbox, programs, socket, program] =
        [bed.sandbox.path(), program.parent().unwrap(), &socket, &program].map(|path| path.to_str().unwrap());
    let volumes = [sandbox, programs, "/sys/fs/cgroup"].map(|path| format!("--volume={path}:{path}"));
    let volumes = volumes.each_ref().map(String::as_str);
    let host = ["--pid", "host", "--cgroupns", "host", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"];
    let security = ["--security-opt", "apparmor=unconfined", "--security-opt", "seccomp=unconfined"];
    let state = format!("{sandbox}/contained");
    let flags = ["--server", &address, "--name", "contained", "--state", &state];
    let command = [&[program][..], &flags, &["--docker-opt-in", "--docker-socket", socket]].concat();
    bed.docker.container("agent", &[&host[..], &security, &volumes].concat(), BASE, &command);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_did_from_a_container_is_put_back_when_that_is_killed() {
    let bed = Bed::with(&[]).await;
    offered(&bed, "paused", &POLITE);
    offered(&bed, "stubborn", &STUBBORN);
    contained_agent(&bed);
    let paused = bed.server.target("paused").await.pids[0];
    let stubborn = bed.server.target("stubborn").await.pids[0];
    let action = |kind| v1::Action { duration: Some(Duration::from_secs(3600).into()), kind: Some(kind) };
    let delay = action(Kind::Delay(Delay::default()));
    bed.server.started("docker/contained/paused", delay).await;
    let stop = action(Kind::Stop(Stop::default()));
    let _stop = bed.begin("docker/contained/stubborn", stop, State::Accepted).await;
    eventually("the stubborn one is asked to end", async || {
        fs::exists(format!("/proc/{stubborn}/root/asked")).unwrap().then_some(())
    })
    .await;
    let agent = bed.docker.pid("agent");
    let guard = children(agent).into_iter().find(|&pid| name(pid) == "kitty-guard").unwrap();
    let id = bed.docker.inspect("agent", "{{.Id}}");
    let groups = |pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups(agent).contains(&id), "{}", groups(agent));
    assert!(!groups(guard).contains(&id), "the runtime would end it with the others:\n{}", groups(guard));

    let standing_still = children(paused);
    bed.docker.must(&["kill", "--signal", "KILL", "agent"]);
    eventually("the paused one goes on", async || (children(paused) != standing_still).then_some(())).await;
    eventually("the stubborn one is started again", async || {
        (![0, stubborn].contains(&bed.docker.pid("stubborn"))).then_some(())
    })
    .await;
}
