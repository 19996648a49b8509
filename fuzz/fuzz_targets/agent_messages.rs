//! Whatever comes off an agent's or worker's stream is taken in by the server without harm, and the stream ends.
//! What is found goes into `corpus/agent_messages`, which `cargo test` replays.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    chaos_kitty_server::fuzz::agent_messages(input);
});
