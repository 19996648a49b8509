//! Whatever comes off an agent's stream, as the server takes it in: for `fuzz/`, and for the test that replays what
//! was found. Not in any program.

use std::{sync::LazyLock, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use chaos_kitty::{codec::SmallCodec, limits, v1::AgentMessage};
use futures_util::StreamExt;
use http_body_util::Full;
use tokio::runtime::Runtime;
use tonic::{Streaming, codec::Codec};

use crate::{
    app::{App, Settings},
    listen::PeerInfo,
    store::Store,
};

/// One server for all inputs.
static SERVER: LazyLock<(Runtime, App)> = LazyLock::new(|| {
    let failed = "a server in memory starts";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect(failed);
    let settings = Settings {
        lease: Duration::from_secs(2),
        start_timeout: Duration::from_millis(10),
        ..Settings::default()
    };
    let store = Store::in_memory().expect(failed);
    let app = runtime.block_on(App::start(settings, store)).expect(failed);
    (runtime, app)
});

/// One stream from its first message to its end. The input is messages, each after its length in two bytes, little
/// end first. Gives how many messages came back.
pub fn agent_messages(input: &[u8]) -> usize {
    let (runtime, app) = &*SERVER;
    runtime.block_on(async {
        let decoder = SmallCodec::<AgentMessage, AgentMessage>::default().decoder();
        let inbound =
            Streaming::new_request(decoder, Full::new(framed(input)), None, Some(limits::MESSAGE_BYTES));
        let peer = PeerInfo { tcp: Some(([127, 0, 0, 1], 1).into()), ..PeerInfo::default() };
        app.service().fleet.attach_stream(inbound, peer).count().await
    })
}

/// As gRPC carries them.
fn framed(mut input: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let (message, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap_or_default());
        body.put_slice(message);
        input = rest;
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The seeds of the fuzz target `agent_messages`, and what it has found.
    #[test]
    fn whatever_the_corpus_holds_is_taken_in_without_harm() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/agent_messages");
        let files = fs::read_dir(corpus).unwrap();
        let most = files.map(|file| agent_messages(&fs::read(file.unwrap().path()).unwrap())).max();
        assert!(most >= Some(2), "no stream was welcome, and more than that");
    }
}
