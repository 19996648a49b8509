//! Put, changed, deleted, kept.

use chaos_kitty::{Code, v1::event};

use super::{super::RosterChange, fleet::target, *};

#[tokio::test(start_paused = true)]
async fn nothing_runs_until_it_is_put_and_then_it_says_what_it_is() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    pass(seconds(3600)).await;
    assert_eq!((operations.list(), fleet.events()), (vec![], vec![]));

    let status = operations.put(named("Floop")).await.expect("the name of a kind, whatever its case");
    assert_eq!((status.kind.as_str(), status.targets), ("floop", 1));
    let operation = status.operation.expect("as it runs");
    assert_eq!(operation.name, "Floop");
    assert_eq!(operation.interval, Some(seconds(30).into()));
    assert_eq!(operation.probability, Some(0.2));
    assert!(operation.seed.is_some());
    let floop = v1::Floop { min_size_mb: 10, max_size_mb: 100, hold_duration: Some(seconds(2).into()) };
    assert_eq!(operation.kind, Some(Kind::Floop(floop)));
}

#[tokio::test(start_paused = true)]
async fn many_of_one_kind_run_under_different_names_and_a_kind_alone_gives_its_name() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    for name in ["", "often", "seldom"] {
        operations.put(hairball(name, seconds(10))).await.expect("it fits");
    }
    operations
        .put(v1::Operation { kind: Some(Kind::Groom(v1::Groom {})), ..named("") })
        .await
        .expect("it fits");
    let names: Vec<_> = operations.list().into_iter().map(|it| it.operation.unwrap().name).collect();
    assert_eq!(names, ["groom", "hairball", "often", "seldom"]);
    pass(seconds(10)).await;
    assert_eq!(fleet.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_put_of_the_same_name_changes_it_and_a_delete_ends_it() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    operations.put(hairball("h", seconds(10))).await.expect("it fits");
    pass(seconds(100)).await;
    assert_eq!(fleet.rounds().len(), 10);
    operations.put(hairball("h", seconds(50))).await.expect("it fits");
    pass(seconds(100)).await;
    assert_eq!(fleet.rounds().len(), 12);
    assert_eq!(operations.list().len(), 1);
    operations.delete("h").await.expect("it is there");
    pass(seconds(100)).await;
    assert_eq!(fleet.rounds().len(), 12);
    assert_eq!(operations.delete("h").await.map_err(|it| it.code), Err(Code::NoSuchOperation));
    let changed = fleet.events().into_iter().filter_map(|event| match event {
        event::Kind::OperationChanged(changed) => Some(changed.deleted),
        _ => None,
    });
    assert_eq!(changed.collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_was_put_runs_again_from_the_store_and_what_can_not_says_why() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let store = Store::in_memory().expect("a store in memory");
    let start = || Operations::start(Arc::clone(&fleet) as Arc<dyn Port>, store.clone(), clock.wall());
    let first = start();
    for name in ["h", "gone"] {
        first.put(hairball(name, seconds(10))).await.expect("it fits");
    }
    first.delete("gone").await.expect("it is there");
    first.shutdown();
    assert_eq!(first.put(hairball("late", seconds(10))).await.map_err(|it| it.code), Err(Code::Stopping));
    let before = fleet.rounds().len();
    pass(seconds(100)).await;
    assert_eq!(fleet.rounds().len(), before, "loops end with the server");

    let newer = v1::Operation { kind: None, ..hairball("of a later version", seconds(10)) };
    store.put_operation(&newer).await.expect("the store writes");
    let second = start();
    second.start_stored().await.expect("the store reads");
    pass(seconds(100)).await;
    let list = second.list();
    let problems: Vec<_> = list.iter().map(|it| it.problem.as_ref().map(|it| it.code)).collect();
    assert_eq!(problems, [None, Some(Code::InvalidArgument.number())]);
    assert_eq!((list[0].rounds, list[0].hits), (10, 10));
    second.delete("of a later version").await.expect("even that can be deleted");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_can_not_be_used_is_refused_by_its_field_and_nothing_changes() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    let minus = pbjson_types::Duration { seconds: -1, nanos: 0 };
    let base = || hairball("h", seconds(10));
    let of = |kind| v1::Operation { kind: Some(kind), ..base() };
    let span = |min: u64, max: u64| {
        of(Kind::Hairball(v1::Hairball {
            min_delay: Some(seconds(min).into()),
            max_delay: Some(seconds(max).into()),
        }))
    };
    let yowl = |messages: Vec<String>| of(Kind::Yowl(v1::Yowl { messages, duration: None }));
    let floop = |min_size_mb, max_size_mb| {
        of(Kind::Floop(v1::Floop { min_size_mb, max_size_mb, hold_duration: None }))
    };
    let zoomies = |min_duration| {
        of(Kind::Zoomies(v1::Zoomies { min_duration: Some(min_duration), max_duration: None }))
    };
    for (field, operation) in [
        ("operation.interval", hairball("h", Duration::ZERO)),
        ("operation.interval", hairball("h", Duration::from_nanos(1))),
        ("operation.interval", v1::Operation { interval: Some(minus), ..base() }),
        ("operation.interval", hairball("h", seconds(u64::MAX / 4))),
        ("operation.probability", v1::Operation { probability: Some(1.01), ..base() }),
        ("operation.probability", v1::Operation { probability: Some(-0.1), ..base() }),
        ("operation.probability", v1::Operation { probability: Some(f64::NAN), ..base() }),
        ("operation.kind", named("meow")),
        ("operation.kind", named("")),
        ("operation.name", hairball("no spaces", seconds(1))),
        ("operation.name", hairball(&"x".repeat(65), seconds(1))),
        ("hairball.min_delay", span(6, 5)),
        ("hairball.min_delay", span(0, 5)),
        ("hairball.max_delay", span(1, 3601)),
        ("zoomies.min_duration", zoomies(minus)),
        ("zoomies.min_duration", zoomies(seconds(4).into())),
        ("floop.min_size_mb", floop(30, 20)),
        ("floop.min_size_mb", floop(101, 0)),
        ("scratch.signal", of(Kind::Scratch(v1::Scratch { signal: "MEOW".to_owned() }))),
        ("yowl.messages[1]", yowl(vec!["a".to_owned(), " ".to_owned()])),
        ("yowl.messages[0]", yowl(vec!["x".repeat(1025)])),
        ("yowl.messages", yowl(vec!["x".to_owned(); 101])),
    ] {
        let problem = operations.put(operation.clone()).await.expect_err(field);
        assert!(problem.message.starts_with(&format!("{field}: ")), "{field}: {problem}");
        assert_eq!(problem.code.exit(), 2, "{problem}");
    }
    assert_eq!(operations.list(), []);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_exists_on_two_platforms_needs_its_platform() {
    let (fleet, clock) = (Fleet::of(&["a"]), Clock::new());
    let operations = operations(&fleet, &clock);
    let mut foreign = target("b");
    foreign.platform_type = "ProcessPlatform".to_owned();
    fleet.tell(RosterChange::Upserted(Arc::new(foreign)));
    pass(seconds(1)).await;
    let aggregation_identifier = "billing".to_owned();
    let mut selector = v1::Selector { aggregation_identifier, ..v1::Selector::default() };
    let with = |selector| v1::Operation { selector: Some(selector), ..hairball("h", seconds(1)) };
    let problem = operations.put(with(selector.clone())).await.expect_err("two platforms");
    assert_eq!(problem.code, Code::Ambiguous);
    assert!(problem.message.contains("ProcessPlatform, WorkerPlatform"), "{problem}");
    selector.platform_type = "WorkerPlatform".to_owned();
    assert_eq!(operations.put(with(selector)).await.expect("one platform").targets, 1);
}

#[tokio::test(start_paused = true)]
async fn operations_are_bounded() {
    let (fleet, clock) = (Fleet::of(&[]), Clock::new());
    let operations = operations(&fleet, &clock);
    for number in 0..256 {
        operations.put(hairball(&format!("h{number}"), seconds(10))).await.expect("there is room");
    }
    let problem = operations.put(hairball("one-more", seconds(10))).await.expect_err("no room");
    assert_eq!(problem.code, Code::LimitReached);
    operations.put(hairball("h7", seconds(20))).await.expect("a change needs no room");
}
