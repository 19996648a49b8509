use std::{fs, path::Path};

use chaos_kitty_guard::Process;
use proptest::prelude::*;

use super::*;

fn held(id: &str, pid: u32) -> Entry {
    let undos = vec![Undo::Continue { processes: vec![Process { pid, start_time: 7 }] }];
    let (id, target) = (id.to_owned(), "process/h/x:1".to_owned());
    Entry::Held(Held { id, target, action: None, boot: "b".to_owned(), epoch: 1, undos })
}

fn over(id: &str) -> Entry {
    Entry::Over { id: id.to_owned() }
}

fn journal(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        write(&mut bytes, number, entry).unwrap();
    }
    bytes
}

/// What is in force after these, by another way of reckoning.
fn in_force(entries: &[Entry]) -> Vec<Held> {
    let mut found: Vec<Held> = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let Entry::Held(one) = entry else { continue };
        let mut later = entries[place + 1..].iter();
        if later.any(|later| matches!(later, Entry::Over { id } if *id == one.id)) {
            continue;
        }
        match found.iter_mut().find(|earlier| earlier.id == one.id) {
            Some(earlier) => *earlier = one.clone(),
            None => found.push(one.clone()),
        }
    }
    found
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0u8..5, 1u32..1000, any::<bool>()).prop_map(|(id, pid, is_over)| {
        let id = format!("action-{id}");
        if is_over { over(&id) } else { held(&id, pid) }
    });
    prop::collection::vec(one, 0..12)
}

#[test]
fn what_is_over_is_not_held_and_later_undos_replace_the_earlier() {
    let read = read(&journal(&[held("a", 1), held("b", 2), held("a", 3), over("b"), held("c", 4)]), 5);
    let Entry::Held(a) = held("a", 3) else { panic!() };
    let Entry::Held(c) = held("c", 4) else { panic!() };
    assert_eq!(read, Contents { held: vec![a, c], damage: None });
}

#[test]
fn a_line_that_is_gone_or_doubled_is_damage() {
    let whole = journal(&[held("a", 1), held("b", 2), over("a")]);
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for (some, line) in [(&[0, 2][..], 2), (&[1, 2], 1), (&[0, 0, 1, 2], 2), (&[1, 0, 2], 1)] {
        let bytes = some.iter().map(|place| lines[*place]).collect::<Vec<_>>().concat();
        assert_eq!(read(&bytes, 0).damage.map(|damage| damage.line), Some(line), "{some:?}");
    }
}

#[test]
fn what_a_boot_undoes_by_itself_does_not_apply_after_it() {
    let go_on = Undo::Continue { processes: Vec::new() };
    let remove = Undo::RemoveFile { path: "/x".into() };
    let Entry::Held(mut one) = held("a", 1) else { panic!() };
    assert!(!one.outlives_a_boot());
    one.undos = vec![go_on.clone(), remove.clone()];
    assert!(one.outlives_a_boot());
    assert_eq!(one.applies_in("b"), [go_on, remove.clone()]);
    assert_eq!(one.applies_in("another"), [remove]);
}

/// The seeds of the fuzz target `journal`, and what it has found.
#[test]
fn whatever_the_corpus_holds_is_read_without_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/journal");
    let mut read_any = false;
    for file in fs::read_dir(corpus).unwrap() {
        read_any |= !read(&fs::read(file.unwrap().path()).unwrap(), 0).held.is_empty();
    }
    assert!(read_any);
}

proptest! {
    #[test]
    fn a_journal_is_read_as_it_was_written(entries in entries()) {
        let contents = Contents { held: in_force(&entries), damage: None };
        prop_assert_eq!(read(&journal(&entries), entries.len() as u64), contents);
    }

    #[test]
    fn any_prefix_is_read_as_what_had_been_written_by_then(entries in entries(), cut in any::<prop::sample::Index>()) {
        let whole = journal(&entries);
        let prefix = &whole[..cut.index(whole.len() + 1)];
        let lines = prefix.iter().filter(|byte| **byte == b'\n').count();
        let but_for_its_end = whole.get(prefix.len()) == Some(&b'\n');
        let written = &entries[..lines + usize::from(but_for_its_end)];
        prop_assert_eq!(read(prefix, 0), Contents { held: in_force(written), damage: None });
        let missing = read(prefix, entries.len() as u64).damage;
        prop_assert_eq!(missing.is_some(), written.len() < entries.len(), "{:?}", missing);
    }

    #[test]
    fn any_torn_tail_is_cut(entries in entries(), tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let tail: Vec<u8> = tail.into_iter().filter(|byte| *byte != b'\n').collect();
        let torn = [journal(&entries), tail].concat();
        prop_assert_eq!(read(&torn, entries.len() as u64), Contents { held: in_force(&entries), damage: None });
    }

    #[test]
    fn any_byte_that_is_another_is_seen(
        entries in entries().prop_filter("something", |entries| !entries.is_empty()),
        place in any::<prop::sample::Index>(),
        other in 1u8..,
    ) {
        let mut bytes = journal(&entries);
        let place = place.index(bytes.len());
        bytes[place] ^= other;
        prop_assert!(read(&bytes, 0).damage.is_some());
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes, 0);
    }
}
