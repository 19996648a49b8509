//! Who is away, and who is gone.

use agent_message::Kind;

use super::*;
use crate::fleet::Whereabouts;

fn target(number: u32) -> v1::Target {
    v1::Target {
        id: format!("docker/a/web-{number}"),
        incarnation: format!("{number}:1"),
        platform_type: "DockerPlatform".to_owned(),
        aggregation_identifier: "web".to_owned(),
        name: format!("web-{number}"),
        agent_id: "a".to_owned(),
        ..Default::default()
    }
}

fn listed(targets: &[u32]) -> v1::TargetsChanged {
    let upserted = targets.iter().copied().map(target).collect();
    v1::TargetsChanged { full: true, complete: true, upserted, ..Default::default() }
}

/// None of the platform's targets is listed, for it can not be seen.
fn blind() -> v1::TargetsChanged {
    let problem = v1::PlatformProblem {
        platform_type: "DockerPlatform".to_owned(),
        message: "the Engine does not answer".to_owned(),
        blind: true,
    };
    v1::TargetsChanged { problems: vec![problem], ..listed(&[]) }
}

impl Server {
    /// The agent "a", welcomed, with nothing told of its targets.
    async fn agent_a(&self) -> Node {
        let mut node = self.stream().await;
        node.send(Kind::Hello(agent("a"))).await;
        node.welcome().await;
        node
    }

    fn whereabouts(&self, number: u32) -> Whereabouts {
        self.app.service().fleet.whereabouts(&target(number))
    }

    async fn until_seen(&self, number: u32) {
        let seen = async || matches!(self.whereabouts(number), Whereabouts::Here(_));
        self.until("the target is seen", seen).await;
    }
}

#[tokio::test]
async fn only_an_agent_that_is_there_and_sees_says_who_is_gone() {
    let server = Server::start(quick()).await;
    assert_eq!(server.whereabouts(1), Whereabouts::Away, "nobody was there yet");
    let node = server.agent_a().await;
    assert_eq!(server.whereabouts(1), Whereabouts::Away, "it has listed nothing yet");
    node.send(Kind::Targets(listed(&[1, 2]))).await;
    server.until_seen(2).await;
    node.send(Kind::Targets(blind())).await;
    server.until("the Engine is lost", async || server.whereabouts(2) == Whereabouts::Away).await;
    assert_eq!(server.whereabouts(3), Whereabouts::Away, "of what never was nothing is known either");
    let refused =
        server.unleash("docker/a/web-2", delay(Duration::from_secs(1))).await.map(drop).unwrap_err();
    assert_eq!(refused.code, Code::AgentUnreachable);
    node.send(Kind::Targets(listed(&[2]))).await;
    server.until_seen(2).await;
    assert_eq!(server.whereabouts(1), Whereabouts::Gone);
}

#[tokio::test]
async fn targets_of_an_agent_that_was_forgotten_are_away() {
    let server = Server::start(quick()).await;
    let node = server.agent_a().await;
    node.send(Kind::Targets(listed(&[1]))).await;
    server.until_seen(1).await;
    drop(node);
    server.until("the agent is forgotten", async || server.app.service().fleet.agents().is_empty()).await;
    assert_eq!(server.whereabouts(1), Whereabouts::Away);
    let node = server.agent_a().await;
    assert_eq!(server.whereabouts(1), Whereabouts::Away, "it is back and has listed nothing yet");
    node.send(Kind::Targets(listed(&[]))).await;
    server.until("it is gone", async || server.whereabouts(1) == Whereabouts::Gone).await;
}

#[tokio::test]
async fn what_a_blind_agent_of_the_version_before_does_not_list_is_gone() {
    let server = Server::start(quick()).await;
    let node = server.agent_a().await;
    node.send(Kind::Targets(listed(&[1]))).await;
    server.until_seen(1).await;
    let mut said = blind();
    said.problems[0].blind = false;
    node.send(Kind::Targets(said)).await;
    server.until("it is gone", async || server.whereabouts(1) == Whereabouts::Gone).await;
}
