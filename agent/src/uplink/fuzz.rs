//! Whatever comes off the server's stream, as the agent takes it in: for `fuzz/`, and for the test that replays what
//! was found. Not in any program.

use std::sync::{Arc, LazyLock};

use chaos_kitty::{
    client::TlsFiles,
    endpoint::{DEFAULT_SOCKET, Endpoint},
    lease::{Lease, boot_time},
    v1::ServerMessage,
};
use prost::Message;
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Presence, Reports, Uplink,
    outbound::Outbound,
    relay::Relay,
    roster,
    session::{STEPS, Session, length, welcome},
};
use crate::{
    executor::{Executor, Settings},
    platform::Roster,
    policy::Policy,
    state::Seen,
};

/// Without a guard and without targets, so that nothing is ever injected; one for all inputs.
static EXECUTOR: LazyLock<(Runtime, Executor, Arc<Reports>)> = LazyLock::new(|| {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let settings = Settings {
        guard: "/no/such/guard".into(),
        max_held: 1,
        policy: Policy::default(),
        journal: "/no/such".into(),
        lock: None,
        steps: "/no/such".into(),
        put_back: Vec::new(),
    };
    let (executor, news) = runtime.block_on(async { Executor::new(settings, Box::new(|_| None)) });
    (runtime, executor, Arc::new(Reports::new(news)))
});

/// One stream from its first message to its end. The input is messages, each after its length in two bytes, little
/// end first. Gives how many messages were taken in.
pub fn server_messages(input: &[u8]) -> usize {
    feed(messages(input))
}

pub(super) fn feed(messages: impl Iterator<Item = ServerMessage>) -> usize {
    let (runtime, executor, reports) = &*EXECUTOR;
    let uplink = Uplink {
        endpoint: Endpoint::Unix(DEFAULT_SOCKET.into()),
        tls: TlsFiles::default(),
        presence: Presence {
            agent_id: "a".to_owned(),
            host: "a".to_owned(),
            labels: Default::default(),
            platforms: Vec::new(),
        },
        executor: executor.clone(),
        rosters: watch::channel(Roster::default()).1,
        offer: std::sync::Arc::default(),
        reports: Arc::clone(reports),
        relay: Arc::new(Relay::new("a")),
        seen: watch::Sender::new(Seen::default()),
        leave: CancellationToken::new(),
    };
    runtime.block_on(async {
        executor.unlatch();
        let taken = take_all(&uplink, messages);
        reports.catch_up();
        reports.taken(u64::MAX);
        taken
    })
}

fn take_all(uplink: &Uplink, mut messages: impl Iterator<Item = ServerMessage>) -> usize {
    let Ok(welcome) = welcome(messages.next()) else { return 0 };
    let (out, _outgoing) = Outbound::new();
    let now = Instant::now();
    let mut session = Session {
        uplink,
        out,
        lease: Lease::new(length(&welcome), boot_time()),
        seen: &uplink.seen,
        roster: Roster::default(),
        told: false,
        chunks: roster::diff(&Roster::default(), &Roster::default(), &std::sync::Arc::default()),
        reported: 0,
        relayed: uplink.relay.opened(),
        steps: mpsc::channel(STEPS),
        heard: now,
        moved: now,
    };
    if session.welcomed(&welcome).is_err() {
        return 0;
    }
    1 + messages.take_while(|message| session.take(message.clone()).is_ok()).count()
}

/// Up to the first that is none.
fn messages(mut input: &[u8]) -> impl Iterator<Item = ServerMessage> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let (message, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        input = rest;
        ServerMessage::decode(message).ok()
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The seeds of the fuzz target `server_messages`, and what it has found.
    #[test]
    fn whatever_the_corpus_holds_is_taken_in_without_harm() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/server_messages");
        let files = fs::read_dir(corpus).unwrap();
        let most = files.map(|file| server_messages(&fs::read(file.unwrap().path()).unwrap())).max();
        assert!(most >= Some(8), "no stream was welcome, and more than that");
    }
}
