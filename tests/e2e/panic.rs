//! A defect that panics: in the server it ends one call or one task, in agent and guard the process, whose other half
//! puts everything back.

use std::{fs, os::unix::process::ExitStatusExt, process::Command, time::Duration};

use chaos_kitty::{Code, v1};
use chaos_kitty_tests::{
    Sandbox, eventually,
    process::{self, Process, state},
};
use rustix::process::Signal;

use crate::experiment::{Place, is_over};

async fn status(place: &Place) -> v1::Status {
    place.server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_panics_ends_nothing_else() {
    let mut place = Place::harmless("kitty-ouch", &[]).await;
    place.alone(2).await;
    place.restart_with(Some("experiment-before-build=panic")).await;
    for calls in 1..3 {
        let problem = place.build(place.suite(&["delay"])).await.unwrap_err();
        assert_eq!(problem.code, Code::Internal, "{problem}");
        assert_eq!(status(&place).await.losses["panics"], calls);
    }
    assert!(place.server.process.stderr().contains("a panic"));
    place.restart_with(None).await;
    place.build(place.suite(&["delay"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_that_panics_twice_is_set_aside_and_reported() {
    let mut place = Place::harmless("kitty-twice", &[]).await;
    place.alone(2).await;
    place.restart_with(Some("experiment-before-order=panic")).await;
    let built = place.build(place.suite(&["delay"])).await.unwrap();
    let aside = eventually("it is set aside", async || status(&place).await.set_aside.pop()).await;
    assert_eq!((aside.kind.as_str(), &aside.key), ("experiment", &built.experiments[0].id));
    place.restart_with(None).await;
    assert_eq!(status(&place).await.set_aside, [aside], "the next start tells of it too");
    let built = place.build(place.suite(&["delay"])).await.unwrap();
    eventually("another one goes its way", async || {
        is_over(&place.get(&built.experiments[0].id).await).then_some(())
    })
    .await;
}

/// A process that stands still under a fault of five minutes, its agent, and what it was started with.
async fn half_that_panics(variable: &str, point: &str) {
    let mut sandbox = Sandbox::new();
    let server = sandbox.server(&[]).await;
    let name = sandbox.path().file_name().unwrap().to_str().unwrap().replace("kitty", "ouch");
    let program = sandbox.path().join(&name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(program);
    command.arg("600");
    let victim = Process::start(&name, command, sandbox.path());
    sandbox.set(variable, &format!("{point}=panic"));
    let mut agent = sandbox.agent(&server, "web-1", &["--process", &name]).await;
    let target = server.target(&format!("{name}:{}", victim.pid())).await;
    let request = v1::UnleashRequest {
        action: Some(v1::Action {
            duration: Some(Duration::from_secs(300).into()),
            kind: Some(v1::action::Kind::Delay(v1::Delay::default())),
        }),
        choice: Some(v1::unleash_request::Choice::Target(target.id)),
        ..Default::default()
    };
    let mut news = server.client().await.unleash(request).await.unwrap().into_inner();
    if variable == "KITTY_CRASH_AT" {
        let ended = agent.process.ended().await;
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
    } else {
        // The agent puts back what its guard held, and starts another one.
        while news.message().await.unwrap().is_some() {}
        assert!(agent.process.is_running());
    }
    eventually("it runs again", async || (state(victim.pid()) == Some('S')).then_some(())).await;
    assert!(agent.process.stderr().contains("this is a defect"), "{}", agent.process.stderr());
    assert!(process::is_alive(victim.pid()));
}

#[tokio::test]
async fn an_agent_that_panics_is_gone_and_its_guard_puts_back() {
    half_that_panics("KITTY_CRASH_AT", "agent-started").await;
}

#[tokio::test]
async fn a_guard_that_panics_is_gone_and_its_agent_puts_back() {
    half_that_panics("KITTY_GUARD_CRASH_AT", "guard-armed").await;
}
