//! Whatever comes off the server's stream is taken in by the agent without harm. What is found goes into
//! `corpus/server_messages`, which `cargo test` replays.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    chaos_kitty_agent::server_messages(input);
});
