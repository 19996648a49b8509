//! What the log says: the kitty's phrases, everything else in fields of its own.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use chaos_kitty::Code;
use serde_json::Value;

use super::{super::kind::NAMES, fleet::Answer, *};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The lines with that message.
    fn of(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).expect("UTF-8");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.map(|line| line["fields"].clone()).filter(|line| line["message"] == message).collect()
    }
}

/// What a run of that kind on target `a` writes as JSON.
async fn log(kind: &str, answer: Option<Answer>) -> Lines {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    if let Some(answer) = answer {
        fleet.answer("a", answer);
    }
    let operations = operations(&fleet, &clock);
    let operation =
        v1::Operation { probability: Some(1.0), interval: Some(seconds(1).into()), ..named(kind) };
    operations.put(operation).await.expect("its name is a kind");
    pass(seconds(5)).await;
    lines
}

#[tokio::test(start_paused = true)]
async fn each_strike_has_its_phrase_and_keeps_its_parameters_beside_it() {
    let phrases = [
        ("hairball", "Hairball hacked up!", "duration"),
        ("scratch", "Scratch took down victim!", "signal"),
        ("floop", "Floop flooped!", "size_mb"),
        ("zoomies", "Zoomies zoomed!", "duration"),
        ("yowl", "Yowl yowled!", "error"),
        ("groom", "Groom groomed!", "name"),
    ];
    assert_eq!(phrases.map(|it| it.0), NAMES);
    for (kind, phrase, parameter) in phrases {
        let lines = log(kind, None).await.of(phrase);
        assert_eq!(lines.len(), 5, "{kind}");
        assert!(
            lines.iter().all(|line| line["target_id"] == "worker/host/a" && !line[parameter].is_null()),
            "{lines:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_logged_as_the_loops() {
    let lines = log("yowl", Some(Answer::Refused(Code::AgentUnreachable))).await.of("Loop error:");
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["code"], Code::AgentUnreachable.number());
    assert_eq!(lines[0]["error"], "the fleet refused");
}
