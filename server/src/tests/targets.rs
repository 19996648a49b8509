//! Targets as agents tell of them.

use agent_message::Kind;

use super::*;

fn labelled(tier: &str) -> v1::TargetsChanged {
    let target = v1::Target {
        id: "process/here/nginx:7".to_owned(),
        incarnation: "7:1".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        name: "nginx:7".to_owned(),
        actions: vec![v1::action_kind::Name::Delay.into()],
        labels: [("tier".to_owned(), tier.to_owned())].into(),
        ..Default::default()
    };
    v1::TargetsChanged { upserted: vec![target], ..Default::default() }
}

#[tokio::test]
async fn labels_that_change_in_the_same_life_reach_operations_and_watchers_at_once() {
    let server = Server::start(Settings::default()).await;
    let mut node = server.stream().await;
    node.send(Kind::Hello(agent("a"))).await;
    node.welcome().await;
    node.send(Kind::Targets(v1::TargetsChanged { full: true, complete: true, ..labelled("silver") })).await;
    let operations = &server.app.service().operations;
    let gold = v1::Selector { labels: [("tier".to_owned(), "gold".to_owned())].into(), ..Default::default() };
    let operation = v1::Operation {
        name: "h".to_owned(),
        interval: Some(Duration::from_secs(3600).into()),
        selector: Some(gold),
        kind: Some(v1::operation::Kind::Hairball(v1::Hairball::default())),
        ..Default::default()
    };
    operations.put(operation).await.unwrap();
    let targets = || operations.list().remove(0).targets;
    server.until("the target is there", async || server.app.service().fleet.target_count() == 1).await;
    assert_eq!(targets(), 0);
    let request = v1::WatchEventsRequest { kinds: vec!["target_changed".to_owned()], after: None };
    let mut watch = server.client().await.watch_events(request).await.unwrap().into_inner();
    // What is told again unchanged is no news.
    node.send(Kind::Targets(labelled("silver"))).await;
    node.send(Kind::Targets(labelled("gold"))).await;
    server.until("the operation draws from it", async || targets() == 1).await;
    let told = watch.message().await.unwrap().unwrap().kind;
    let Some(v1::event::Kind::TargetChanged(target)) = told else { panic!("{told:?}") };
    assert_eq!(target.labels["tier"], "gold");
    node.send(Kind::Targets(labelled("bronze"))).await;
    server.until("the operation leaves it alone", async || targets() == 0).await;
}
