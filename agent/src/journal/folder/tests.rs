use chaos_kitty_guard::{Process, Undo};

use super::*;

fn held(id: &str) -> Held {
    let undos = vec![Undo::Continue { processes: vec![Process { pid: 1, start_time: 7 }] }];
    Held { id: id.to_owned(), target: "t".to_owned(), action: None, boot: "b".to_owned(), epoch: 1, undos }
}

fn hold(id: &str) -> Entry {
    Entry::Held(held(id))
}

fn over(id: &str) -> Entry {
    Entry::Over { id: id.to_owned() }
}

fn ids(held: &[Held]) -> Vec<&str> {
    held.iter().map(|one| one.id.as_str()).collect()
}

fn bytes(folder: &Path) -> u64 {
    fs::metadata(folder.join(RECORDS)).unwrap().len()
}

#[test]
fn what_is_held_is_there_for_the_next_one_and_what_is_over_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/journal");
    assert!(look(&path).unwrap().is_empty());
    let mut records = Records::begin(&path, Vec::new()).unwrap();
    records.append(vec![hold("a"), hold("b"), hold("c")]).unwrap();
    records.append(vec![over("b")]).unwrap();
    drop(records);
    let left = look(&path).unwrap();
    assert_eq!(ids(&left), ["a", "c"]);
    let mut records = Records::begin(&path, left).unwrap();
    records.append(vec![over("a")]).unwrap();
    assert_eq!(ids(&look(&path).unwrap()), ["c"]);
}

#[test]
fn a_torn_tail_is_cut_and_what_follows_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    drop(Records::begin(path, vec![held("a")]).unwrap());
    File::options().append(true).open(path.join(RECORDS)).unwrap().write_all(b"0123abcd 2 {\"hel").unwrap();
    let left = look(path).unwrap();
    assert_eq!(ids(&left), ["a"]);
    Records::begin(path, left).unwrap().append(vec![hold("b")]).unwrap();
    assert_eq!(ids(&look(path).unwrap()), ["a", "b"]);
}

#[test]
fn what_is_damaged_is_set_aside_until_a_person_clears_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    drop(Records::begin(path, vec![held("a"), held("b")]).unwrap());
    let mut bytes = fs::read(path.join(RECORDS)).unwrap();
    bytes[30] ^= 1;
    fs::write(path.join(RECORDS), bytes).unwrap();
    for _ in 0..2 {
        let Err(Trouble::Damaged { what, known, path: aside }) = look(path) else { panic!("it was trusted") };
        assert!(what.starts_with("line 1"), "{what}");
        assert_eq!(ids(&known), ["b"]);
        assert!(aside.exists() && !path.join(RECORDS).exists());
    }
    assert_eq!(ids(&clear(path).unwrap()), ["b"]);
    assert!(look(path).unwrap().is_empty());
    assert_eq!(set_aside(path, CLEARED).unwrap().len(), 1);
}

#[test]
fn a_folder_that_can_not_be_made_is_no_empty_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::write(&path, "a file").unwrap();
    assert!(matches!(look(&path), Err(Trouble::Unavailable { .. })));
    assert!(Records::begin(&path, Vec::new()).is_err());
}

#[test]
fn it_stays_small_however_much_passes_through_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::begin(folder.path(), vec![held("stays")]).unwrap();
    for number in 0..2000 {
        let id = format!("action-{number}");
        records.append(vec![hold(&id)]).unwrap();
        records.append(vec![over(&id)]).unwrap();
        assert!(bytes(folder.path()) < COMPACT_BYTES + 1000);
    }
    assert_eq!(ids(&look(folder.path()).unwrap()), ["stays"]);
    records.append(vec![over("stays")]).unwrap();
    assert!(look(folder.path()).unwrap().is_empty());
}

#[test]
fn a_file_that_takes_no_more_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::begin(folder.path(), Vec::new()).unwrap();
    records.append(vec![hold("a"), hold("b")]).unwrap();
    let good = std::mem::replace(&mut records.file, File::open(folder.path().join(RECORDS)).unwrap());
    assert!(records.append(vec![hold("c"), over("a")]).is_err());
    assert_eq!(ids(&look(folder.path()).unwrap()), ["b"], "what is over was written anew");
    drop(good);
    records.append(vec![hold("d")]).unwrap();
    assert_eq!(ids(&look(folder.path()).unwrap()), ["b", "d"]);
}

#[test]
fn lines_that_are_gone_from_the_end_are_damage_until_a_person_clears_it() {
    let one = || {
        let folder = tempfile::tempdir().unwrap();
        let mut records = Records::begin(folder.path(), vec![held("a")]).unwrap();
        records.append(vec![hold("b")]).unwrap();
        folder
    };
    let cut = |folder: &Path, lines: usize| {
        let text = fs::read_to_string(folder.join(RECORDS)).unwrap();
        let kept: String = text.split_inclusive('\n').take(lines).collect();
        fs::write(folder.join(RECORDS), kept).unwrap();
    };
    let gone = |folder: &Path, _: usize| fs::remove_file(folder.join(RECORDS)).unwrap();
    for (destroy, lines, left) in
        [(&cut as &dyn Fn(&Path, usize), 1, &["a"][..]), (&cut, 0, &[]), (&gone, 0, &[])]
    {
        let folder = one();
        let path = folder.path();
        destroy(path, lines);
        for _ in 0..2 {
            let Err(Trouble::Damaged { what, known, .. }) = look(path) else { panic!("it was trusted") };
            assert_eq!(what, format!("line {}: it is missing, and whatever followed it", lines + 1));
            assert_eq!(ids(&known), left);
        }
        assert_eq!(ids(&clear(path).unwrap()), left);
        assert!(look(path).unwrap().is_empty());
        Records::begin(path, Vec::new()).unwrap().append(vec![hold("c")]).unwrap();
        assert_eq!(ids(&look(path).unwrap()), ["c"]);
    }
}

#[test]
fn whoever_is_killed_while_it_is_written_anew_leaves_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::begin(folder.path(), vec![held("a"), held("b")]).unwrap();
    records.append(vec![over("b")]).unwrap();
    records.append(vec![hold("c")]).unwrap();
    // Between the rename and the new count: there are fewer lines than before.
    records.count.set(0).unwrap();
    drop(Records::begin(folder.path(), look(folder.path()).unwrap()).unwrap());
    records.count.set(0).unwrap();
    assert_eq!(ids(&look(folder.path()).unwrap()), ["a", "c"]);
}
