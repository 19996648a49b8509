//! Whatever a journal's file holds is read without harm. What is found goes into `corpus/journal`, which
//! `cargo test` replays.
#![no_main]

use chaos_kitty_agent::journal::record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let contents = record::read(bytes, 0);
    // What is read of it, written again, is read as the same.
    let mut again = Vec::new();
    for (number, held) in (1..).zip(&contents.held) {
        record::write(&mut again, number, &record::Entry::Held(held.clone())).unwrap();
    }
    let read = record::read(&again, contents.held.len() as u64);
    assert!(read.damage.is_none() && read.held == contents.held);
});
