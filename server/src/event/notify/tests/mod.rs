//! Notifications to a real receiver.

mod receiver;

use std::time::Duration;

use chaos_kitty::{
    backoff::Backoff,
    v1::{
        Experiment, Target,
        event::Kind,
        event::{Halted, Resumed},
        experiment_state::Name as State,
        experiment_type::Name as Type,
    },
};
use ring::hmac;
use serde_json::json;

use self::receiver::Receiver;
use super::*;

const SECRET: &str = "nine lives";

fn webhook(receiver: &Receiver) -> Webhook {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    Webhook {
        url: receiver.url.parse().unwrap(),
        format: Format::Json,
        levels: vec![Level::Good, Level::Warn, Level::Error],
        secret: SECRET.to_owned(),
        tls_ca: None,
        patience: Patience { attempts: 4, timeout: Duration::from_secs(20), backoff },
    }
}

fn started(webhooks: Vec<Webhook>) -> (Arc<Bus>, Notifier) {
    let bus = Arc::new(Bus::default());
    let notifier = Notifier::start(Arc::clone(&bus), webhooks).unwrap();
    (bus, notifier)
}

/// Lets the fan-out begin to watch, and then come to what was published.
async fn publish(bus: &Bus, kinds: impl IntoIterator<Item = Kind>) {
    while bus.watchers() == 0 {
        tokio::task::yield_now().await;
    }
    kinds.into_iter().for_each(|kind| bus.publish(kind, "a line for people"));
}

fn experiment(state: State) -> Kind {
    let target = Target {
        name: "nginx:1".to_owned(),
        aggregation_identifier: "nginx".to_owned(),
        platform_type: "ProcessPlatform".to_owned(),
        ..Target::default()
    };
    Kind::Experiment(Experiment {
        id: "e-1".to_owned(),
        experiment_state: state.into(),
        experiment_type: Type::Resource.into(),
        experiment_method_name: "spinCpu".to_owned(),
        container: Some(target),
        ..Experiment::default()
    })
}

async fn until(mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("it never came to that");
}

#[tokio::test]
async fn a_receiver_gets_what_it_wants_to_know_signed_and_in_order() {
    let mut receiver = Receiver::answering(vec![]).await;
    let mut webhook = webhook(&receiver);
    webhook.levels = vec![Level::Warn, Level::Error];
    let (bus, _notifier) = started(vec![webhook]);
    publish(&bus, [State::Created, State::Started, State::Finished, State::Failed].map(experiment)).await;
    let (first, second) = (receiver.next().await, receiver.next().await);
    let body = first.json();
    assert_eq!(body["title"], "Experiment STARTED");
    assert_eq!(body["message"], "a line for people");
    assert_eq!(body["notificationLevel"], "WARN");
    assert_eq!(body["experimentId"], "e-1");
    assert_eq!(body["experimentType"], "RESOURCE");
    assert_eq!(body["experimentMethod"], "spinCpu");
    assert_eq!(body["targetContainer"]["name"], "nginx:1");
    assert!(body["chaosTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(second.json()["title"], "Experiment FAILED");
    assert_ne!(first.header("kitty-delivery"), second.header("kitty-delivery"));

    let signed = first.header("kitty-signature");
    let (seconds, hex) = signed.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let tag: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let message = [seconds.as_bytes(), b".", first.body.as_bytes()].concat();
    assert!(hmac::verify(&key, &message, &tag).is_ok());
    assert!(hmac::verify(&key, first.body.as_bytes(), &tag).is_err());
}

#[tokio::test]
async fn slack_gets_a_message_with_a_colour_and_fields() {
    let mut receiver = Receiver::answering(vec![]).await;
    let (bus, _notifier) =
        started(vec![Webhook { format: Format::Slack, secret: String::new(), ..webhook(&receiver) }]);
    publish(&bus, [experiment(State::Finished), Kind::Halted(Halted::default())]).await;
    let finished = receiver.next().await;
    assert!(finished.headers.get("kitty-signature").is_none());
    let body = finished.json();
    assert_eq!(body["text"], "Experiment FINISHED");
    assert_eq!(body["attachments"][0]["color"], "good");
    let field = json!({"title": "Target", "value": "nginx:1", "short": true});
    assert_eq!(body["attachments"][0]["fields"][0], field);
    let halted = receiver.next().await.json();
    assert_eq!((&halted["text"], &halted["attachments"][0]["color"]), (&json!("Halted"), &json!("warning")));
    assert_eq!(halted["attachments"][0]["fields"], json!([]));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_one_delivery_and_what_may_not_is_given_up() {
    let mut receiver = Receiver::answering(vec![503, 429, 204, 400]).await;
    let (bus, notifier) = started(vec![webhook(&receiver)]);
    publish(&bus, [experiment(State::Started)]).await;
    let tries = [receiver.next().await, receiver.next().await, receiver.next().await];
    let delivery = |received: &receiver::Received| received.header("kitty-delivery").to_owned();
    assert!(tries.iter().all(|received| delivery(received) == delivery(&tries[0])));
    assert_eq!(notifier.lost(), 0);
    publish(&bus, [experiment(State::Failed), experiment(State::Finished)]).await;
    assert_eq!(receiver.next().await.json()["title"], "Experiment FAILED");
    assert_eq!(receiver.next().await.json()["title"], "Experiment FINISHED");
    assert_eq!(notifier.lost(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_gone_costs_its_notifications_and_nobody_elses() {
    let gone = Receiver::answering(vec![]).await;
    let mut there = Receiver::answering(vec![]).await;
    let webhooks = vec![webhook(&gone), webhook(&there)];
    drop(gone);
    let (bus, notifier) = started(webhooks);
    publish(&bus, [Kind::Resumed(Resumed::default())]).await;
    assert_eq!(there.next().await.json()["title"], "Resumed");
    until(|| notifier.lost() == 1).await;
}

#[tokio::test]
async fn a_receiver_that_never_answers_blocks_nobody_and_what_its_queue_does_not_hold_is_counted() {
    let mut silent = Receiver::silent().await;
    let (bus, notifier) = started(vec![webhook(&silent)]);
    publish(&bus, [experiment(State::Started)]).await;
    silent.next().await;
    // One is under way, the queue is full of others, and the last ones have no place.
    for _ in 0..QUEUE + 5 {
        publish(&bus, [experiment(State::Started)]).await;
        tokio::task::yield_now().await;
    }
    until(|| notifier.lost() == 5).await;
}

#[tokio::test]
async fn over_tls_only_a_receiver_that_is_trusted_gets_anything() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    std::fs::write(&ca, certificate.cert.pem()).unwrap();
    let another = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&other, another.cert.pem()).unwrap();
    let mut receiver = Receiver::tls(&certificate).await;
    let trusting = |ca: std::path::PathBuf| Webhook { tls_ca: Some(ca), ..webhook(&receiver) };
    let (doubted, trusted) = (trusting(other), trusting(ca));
    let (bus, notifier) = started(vec![doubted]);
    publish(&bus, [experiment(State::Failed)]).await;
    until(|| notifier.lost() == 1).await;
    let (bus, _notifier) = started(vec![trusted]);
    publish(&bus, [experiment(State::Finished)]).await;
    assert_eq!(receiver.next().await.json()["title"], "Experiment FINISHED", "and nothing came before it");
    let missing = Webhook { tls_ca: Some(folder.path().join("none.pem")), ..webhook(&receiver) };
    assert!(Notifier::start(Arc::default(), vec![missing]).unwrap_err().message.contains("none.pem"));
}

#[tokio::test]
async fn addresses_that_are_none_are_refused_at_the_start() {
    let receiver = Receiver::answering(vec![]).await;
    for url in ["ftp://127.0.0.1/x", "/hook", "127.0.0.1:80"] {
        let webhook = Webhook { url: url.parse().unwrap(), ..webhook(&receiver) };
        let refused = Notifier::start(Arc::default(), vec![webhook]);
        assert_eq!(refused.unwrap_err().code, chaos_kitty::Code::Usage, "{url}");
    }
}
