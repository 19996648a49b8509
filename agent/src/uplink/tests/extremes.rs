//! Every field of a server's messages with every value that somebody may have forgotten.

#[path = "../../../../proto/bounds/extremes.rs"]
mod generated;

use chaos_kitty::v1::{ServerMessage, Welcome, server_message::Kind};
use prost::Message;

use crate::uplink::fuzz::feed;

#[test]
fn no_field_of_any_message_of_a_server_ends_the_agent() {
    let welcome = ServerMessage { kind: Some(Kind::Welcome(Welcome::default())), ..Default::default() };
    let (mut all, mut taken) = (0, 0);
    for extreme in generated::Schema::read().extremes(".chaoskitty.v1.ServerMessage") {
        let Ok(message) = ServerMessage::decode(&*extreme.bytes) else { continue };
        let first = if extreme.what.starts_with(".welcome") { None } else { Some(welcome.clone()) };
        let expected = 1 + usize::from(first.is_some());
        all += 1;
        taken += usize::from(feed(first.into_iter().chain([message])) == expected);
    }
    assert!(all > 1000 && taken * 10 > all * 3, "{taken} of {all} were taken in");
}
