use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

struct Place {
    _folder: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kitty.db");
    Place { _folder: folder, path }
}

fn status(number: u32, state: v1::action_state::Name) -> v1::ActionStatus {
    let target_id = format!("host/web-{}", number % 2);
    v1::ActionStatus { id: format!("{number:08}"), target_id, state: state.into(), ..Default::default() }
}

use v1::action_state::Name::{Reverted, Started, Stuck};

fn ids(actions: &[v1::ActionStatus]) -> Vec<&str> {
    actions.iter().map(|action| action.id.as_str()).collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_a_new_start() {
    let place = place();
    let store = Store::open(&place.path).unwrap();
    let id = store.server_id().to_owned();
    store.put_action(&status(1, Started)).await.unwrap();
    store.put_action(&status(1, Reverted)).await.unwrap();
    store.record_action(&status(2, Stuck));
    let operation = v1::Operation { name: "hairball".to_owned(), ..Default::default() };
    store.put_operation(&operation).await.unwrap();
    drop(store);

    let store = Store::open(&place.path).unwrap();
    assert_eq!(store.server_id(), id);
    assert_eq!(store.action("00000001").await.unwrap().state(), Reverted);
    assert_eq!(ids(&store.unfinished_actions().await.unwrap().actions), ["00000002"]);
    assert_eq!(store.operations().await.unwrap(), [operation]);
    store.delete_operation("hairball").await.unwrap();
    assert!(store.operations().await.unwrap().is_empty());
    assert_eq!(store.action("nope").await.unwrap_err().code, Code::NoSuchAction);
    assert_eq!(store.lost(), 0);
}

#[tokio::test]
async fn pages_come_newest_first_and_leave_nothing_out() {
    for store in [Store::in_memory().unwrap(), Store::open(&place().path).unwrap()] {
        for number in 0..10 {
            let state = if number < 3 { Started } else { Reverted };
            store.put_action(&status(number, state)).await.unwrap();
        }
        let mut request = v1::ListActionsRequest { page_size: 4, ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let Page { entries, next, .. } = store.actions(&request).await.unwrap();
            seen.extend(entries.into_iter().map(|action| action.id));
            if next.is_empty() {
                break;
            }
            request.page_token = next;
        }
        let expected: Vec<String> = (0..10).rev().map(|number| format!("{number:08}")).collect();
        assert_eq!(seen, expected);

        let active = v1::ListActionsRequest { active_only: true, ..Default::default() };
        assert_eq!(ids(&store.actions(&active).await.unwrap().entries), ["00000002", "00000001", "00000000"]);
        let both = v1::ListActionsRequest { target_id: "host/web-1".to_owned(), ..active };
        assert_eq!(ids(&store.actions(&both).await.unwrap().entries), ["00000001"]);
    }
}

#[tokio::test]
async fn epochs_grow_with_every_start_whatever_the_clock_says() {
    let place = place();
    let store = Store::open(&place.path).unwrap();
    let first = store.begin_epoch().await.unwrap();
    let future = first + 1_000_000_000;
    assert_eq!(store.raise_epoch(future).await.unwrap(), future);
    assert_eq!(store.raise_epoch(1).await.unwrap(), future);
    drop(store);
    let store = Store::open(&place.path).unwrap();
    assert_eq!(store.begin_epoch().await.unwrap(), future + 1);
}

#[tokio::test]
async fn connection_ids_go_on_after_a_clean_end_and_never_repeat_after_a_crash() {
    let place = place();
    let store = Store::open(&place.path).unwrap();
    assert_eq!([store.next_connection_id(), store.next_connection_id()], [1, 2]);
    drop(store);
    let store = Store::open(&place.path).unwrap();
    assert_eq!(store.next_connection_id(), 3);
    // As a crash leaves it: a copy of the files, taken while it is open.
    let crashed = place.path.with_extension("crashed");
    for suffix in ["", "-wal"] {
        let of = |path: &PathBuf| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(of(&place.path), of(&crashed)).unwrap();
    }
    assert!(Store::open(&crashed).unwrap().next_connection_id() > 3);
}

#[tokio::test]
async fn a_store_is_open_once_at_a_time() {
    let place = place();
    let store = Store::open(&place.path).unwrap();
    let error = Store::open(&place.path).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    check(&place.path).unwrap();
    drop(store);
    Store::open(&place.path).unwrap();
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let place = place();
    for content in [&b"dear diary, today the kitty came by"[..], b"short", b"SQLite format 4\0 no"] {
        fs::write(&place.path, content).unwrap();
        let error = Store::open(&place.path).err().unwrap();
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
        assert!(error.to_string().contains("kitty.db"), "{error}");
        assert_eq!(fs::read(&place.path).unwrap(), content);
    }
    fs::remove_file(&place.path).unwrap();
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("CREATE TABLE cats (name TEXT)").unwrap();
    drop(other);
    let before = fs::read(&place.path).unwrap();
    assert!(matches!(Store::open(&place.path).err().unwrap(), StoreError::Foreign(_)));
    assert_eq!(fs::read(&place.path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_alone() {
    let place = place();
    drop(Store::open(&place.path).unwrap());
    let mut bytes = fs::read(&place.path).unwrap();
    bytes[100..].fill(0xc1);
    fs::write(&place.path, &bytes).unwrap();
    let error = Store::open(&place.path).err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(matches!(check(&place.path).unwrap_err(), StoreError::Corrupt { .. }));
    assert_eq!(fs::read(&place.path).unwrap(), bytes);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let place = place();
    drop(Store::open(&place.path).unwrap());
    Connection::open(&place.path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&place.path).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_is_over_once_there_is_room() {
    let place = place();
    let mut opened = open::open(&place.path).unwrap();
    let health = Arc::<Health>::default();
    let (server_id, ids) = prepare(&opened.writer, &health).unwrap();
    let pages: u32 = opened.writer.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    // SQLite says SQLITE_FULL for its own limit as it does for the disk's.
    opened.writer.pragma_update(None, "max_page_count", pages + 8).unwrap();
    let writer =
        Writer::start(std::mem::replace(&mut opened.writer, open::in_memory().unwrap()), health.clone());
    let store = Store(Arc::new(Inner {
        server_id,
        ids,
        health,
        told: quarantine::Told::default(),
        writer: Some(writer.unwrap()),
        reader: Arc::new(Mutex::new(opened.reader.unwrap())),
        _lock: Some(opened.lock),
    }));
    let big = |number| v1::ActionStatus { source: "x".repeat(16 << 10), ..status(number, Started) };
    let mut written = 0;
    let problem = loop {
        match store.put_action(&big(written)).await {
            Ok(()) => written += 1,
            Err(problem) => break problem,
        }
    };
    assert!(written > 0);
    assert_eq!(problem.code, Code::StoreUnavailable);
    assert!(problem.hint.contains("room"), "{problem}");
    assert!(store.problem().unwrap().contains("full"));
    store.record_action(&big(99));
    assert_eq!(store.unfinished_actions().await.unwrap().actions.len(), written as usize, "reads go on");
    // Room is made: what is there is overwritten by less.
    for number in 0..written {
        while store.put_action(&status(number, Reverted)).await.is_err() {}
    }
    store.put_action(&big(100)).await.unwrap();
    assert_eq!(store.problem(), None);
    assert_eq!(store.lost(), 1);
}

#[tokio::test]
async fn many_writers_share_transactions_and_all_are_served() {
    let place = place();
    let store = Store::open(&place.path).unwrap();
    let tasks: Vec<_> = (0..2000)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.put_action(&status(number, Started)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(store.unfinished_actions().await.unwrap().actions.len(), 2000);
}

mod suites {
    use chaos_kitty::Timestamp;
    use v1::{Experiment, ExperimentSuite, SuiteRecord, experiment_state::Name as State};

    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp { seconds: hour * 3600, nanos: 123_456_000 }
    }

    fn record(hour: i64) -> SuiteRecord {
        let suite = ExperimentSuite { name: format!("suite {hour}"), ..Default::default() };
        SuiteRecord { at: Some(at(hour)), suite: Some(suite), seed: 7, ..Default::default() }
    }

    fn experiment(hour: i64, number: u32, state: State) -> Experiment {
        let id = format!("{hour:04}-{number:04}");
        Experiment { id, suite: Some(at(hour)), experiment_state: state.into(), ..Default::default() }
    }

    #[tokio::test]
    async fn a_suite_and_its_experiments_are_there_after_a_new_start() {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        let experiments = [experiment(1, 1, State::Created), experiment(1, 2, State::Created)];
        store.put_suite(&record(1), &experiments).await.unwrap();
        let finished = experiment(1, 2, State::Finished);
        store.put_experiment(&finished).await.unwrap();
        drop(store);

        let store = Store::open(&place.path).unwrap();
        assert_eq!(store.suite_record(at(1)).await.unwrap(), record(1));
        assert_eq!(store.experiments_of(at(1)).await.unwrap(), [experiments[0].clone(), finished.clone()]);
        assert_eq!(store.unfinished_experiments().await.unwrap(), [(experiments[0].clone(), 0)]);
        assert_eq!(store.experiment(&finished.id).await.unwrap(), finished);
        assert_eq!(store.experiments("", 10).await.unwrap().entries[0], finished);
        assert_eq!(store.experiments(&finished.id, 10).await.unwrap().entries, experiments[..1]);
        assert_eq!(store.experiment("no").await.unwrap_err().code, Code::NoSuchExperiment);
        let nowhere = store.suite_record(at(2)).await.unwrap_err();
        assert_eq!(nowhere.code, Code::NoSuchSuite);
        assert!(nowhere.message.contains("1970-01-01T02:00:00.123456Z"), "{nowhere}");
    }

    #[tokio::test]
    async fn the_history_comes_newest_first_and_the_oldest_are_forgotten_unless_they_run() {
        let store = Store::in_memory().unwrap();
        for hour in 0..6 {
            let state = if hour == 1 { State::Started } else { State::Finished };
            store.put_suite(&record(hour), &[experiment(hour, 1, state)]).await.unwrap();
        }
        let names = |entries: Vec<v1::HistoryEntry>| -> Vec<String> {
            entries.into_iter().map(|entry| entry.suite.unwrap().name).collect()
        };
        let page = store.suites(None, 2).await.unwrap().entries;
        assert_eq!(page[1].at, Some(at(4)));
        assert_eq!(names(page), ["suite 5", "suite 4"]);
        assert_eq!(names(store.suites(Some(at(4)), 2).await.unwrap().entries), ["suite 3", "suite 2"]);
        store.keep_suites(3);
        let left = names(store.suites(None, 10).await.unwrap().entries);
        assert_eq!(left, ["suite 5", "suite 4", "suite 3", "suite 1"]);
        assert!(store.experiments_of(at(0)).await.unwrap().is_empty());
        assert_eq!(store.experiments_of(at(1)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_value_is_read_as_it_was_last_written() {
        let store = Store::in_memory().unwrap();
        assert_eq!(store.value::<v1::Operation>("x").await.unwrap(), None);
        for name in ["a", "b"] {
            let value = v1::Operation { name: name.to_owned(), ..Default::default() };
            store.put_value("x", &value).await.unwrap();
            assert_eq!(store.value("x").await.unwrap(), Some(value));
        }
    }
}

mod set_aside {
    use v1::{Experiment, ExperimentSuite, SuiteRecord, experiment_state::Name as ExperimentState};

    use super::*;

    /// A store with one record of everything, and what was done to its file while it was closed.
    async fn damaged(sql: &str) -> (Place, Store) {
        let place = place();
        let store = Store::open(&place.path).unwrap();
        store.put_action(&status(1, Started)).await.unwrap();
        store.put_action(&status(2, Started)).await.unwrap();
        let operation = |name: &str| v1::Operation { name: name.to_owned(), ..Default::default() };
        store.put_operation(&operation("a")).await.unwrap();
        store.put_operation(&operation("b")).await.unwrap();
        store.put_value("admin_state", &operation("x")).await.unwrap();
        let suite = SuiteRecord {
            at: Some(chaos_kitty::Timestamp { seconds: 7, nanos: 0 }),
            suite: Some(ExperimentSuite::default()),
            ..Default::default()
        };
        let experiment = |id: &str| Experiment {
            id: id.to_owned(),
            suite: suite.at,
            experiment_state: ExperimentState::Started.into(),
            ..Default::default()
        };
        store.put_suite(&suite, &[experiment("e1"), experiment("e2")]).await.unwrap();
        store.begin_epoch().await.unwrap();
        drop(store);
        Connection::open(&place.path).unwrap().execute_batch(sql).unwrap();
        let store = Store::open(&place.path).unwrap();
        (place, store)
    }

    fn told(store: &Store) -> Vec<(String, String)> {
        store.all_set_aside().into_iter().map(|row| (row.kind, row.key)).collect()
    }

    #[tokio::test]
    async fn one_record_that_can_not_be_read_is_set_aside_wherever_it_is() {
        let broken = "UPDATE action SET status = x'ffffffff' WHERE id = (SELECT min(id) FROM action);
             UPDATE operation SET operation = x'ffffffff' WHERE name = 'a';
             UPDATE experiment SET experiment = x'ffffffff' WHERE id = 'e1';
             UPDATE suite SET suite = x'ffffffff';
             UPDATE meta SET value = 'no' WHERE key IN ('epoch', 'next_connection_id');
             UPDATE meta SET value = x'ffffffff' WHERE key = 'admin_state';";
        let (place, store) = damaged(broken).await;
        assert_eq!(check(&place.path).unwrap().len(), 4, "{:?}", check(&place.path));
        assert_eq!(store.unfinished_actions().await.unwrap().actions.len(), 1);
        assert_eq!(store.newest_actions(9).await.unwrap().len(), 1);
        assert_eq!(store.operations().await.unwrap().len(), 1);
        assert_eq!(store.unfinished_experiments().await.unwrap().len(), 1);
        assert!(store.suites(None, 9).await.unwrap().entries.is_empty());
        let at = chaos_kitty::Timestamp { seconds: 7, nanos: 0 };
        assert_eq!(store.experiments_of(at).await.unwrap().len(), 1);
        let state = store.value::<v1::AdminStateResponse>("admin_state").await;
        assert_eq!(state.unwrap_err().code, Code::Unreadable);
        store.settle().await.unwrap();
        assert_eq!(store.value::<v1::AdminStateResponse>("admin_state").await.unwrap(), None);
        assert!(store.begin_epoch().await.unwrap() > 0, "an epoch that is none is begun anew");
        assert!(store.next_connection_id() > 4096);
        let kinds: Vec<_> = told(&store).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["action", "operation", "suite", "experiment", "value", "value"]);
        // Kept for a person, told by the next start, and by `kittyd check`.
        let before = told(&store);
        drop(store);
        let store = Store::open(&place.path).unwrap();
        let hurt = store.recall_set_aside().await.unwrap();
        assert_eq!(hurt.len(), 1, "the action was not over: {hurt:?}");
        assert_eq!(told(&store), before);
        assert_eq!(store.unfinished_actions().await.unwrap().actions.len(), 1);
        assert!(check(&place.path).unwrap().iter().any(|line| line.contains("operation a")));
    }

    #[tokio::test]
    async fn starts_that_end_before_their_experiments_are_driven_are_counted() {
        let (_place, store) = damaged("").await;
        let attempts = async |store: &Store| -> Vec<u32> {
            let unfinished = store.unfinished_experiments().await.unwrap();
            unfinished.into_iter().map(|(_, attempts)| attempts).collect()
        };
        store.begin_attempt().await.unwrap();
        store.begin_attempt().await.unwrap();
        assert_eq!(attempts(&store).await, [2, 2]);
        store.end_attempt();
        store.settle().await.unwrap();
        assert_eq!(attempts(&store).await, [0, 0]);
    }
}
