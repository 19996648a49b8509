use super::*;

fn platforms() -> (Platforms, Publisher, Publisher) {
    let platforms = Platforms::default();
    let publisher = |platform_type| Publisher { platform_type, roster: platforms.roster.clone() };
    let (one, two) = (publisher("One"), publisher("Two"));
    (platforms, one, two)
}

fn target(platform_type: &str, id: &str) -> Subject {
    let target = v1::Target { id: id.into(), platform_type: platform_type.into(), ..Default::default() };
    Subject { target, ..Subject::default() }
}

#[test]
fn a_platform_replaces_its_own_targets_only() {
    let (platforms, one, two) = platforms();
    one.replace(vec![target("One", "a"), target("One", "b")]);
    two.replace(vec![target("Two", "c")]);
    one.replace(vec![target("One", "b")]);
    let ids: Vec<_> = platforms.roster().borrow().all().map(|listed| listed.id().to_string()).collect();
    assert_eq!(ids, ["b", "c"]);
    assert!(platforms.subject("a").is_none());
    assert_eq!(platforms.subject("c").unwrap().target.platform_type, "Two");
}

#[test]
fn followers_are_woken_by_changes_only() {
    let (platforms, one, _) = platforms();
    let mut roster = platforms.roster();
    one.replace(vec![target("One", "a")]);
    one.problem(None);
    assert!(roster.has_changed().unwrap());
    roster.mark_unchanged();
    one.replace(vec![target("One", "a")]);
    one.problem(None);
    assert!(!roster.has_changed().unwrap());
    one.replace([] as [Subject; 0]);
    assert!(roster.has_changed().unwrap());
}

#[test]
fn a_problem_is_kept_by_platform_until_it_is_over() {
    let (platforms, one, two) = platforms();
    one.problem(Some("blind".into()));
    two.problem(Some("deaf".into()));
    two.problem(None);
    assert_eq!(platforms.roster().borrow().problems, BTreeMap::from([("One", "blind".to_owned())]));
}

#[test]
fn a_platform_that_sees_nothing_is_blind_until_it_lists_its_targets() {
    let (platforms, one, _) = platforms();
    let mut roster = platforms.roster();
    one.replace(vec![target("One", "a")]);
    roster.mark_unchanged();
    one.lost("no word of the engine".into());
    assert!(roster.has_changed().unwrap() && roster.borrow_and_update().blind.contains("One"));
    assert!(platforms.subject("a").is_none());
    one.lost("no word of the engine".into());
    assert!(!roster.has_changed().unwrap());
    one.replace([] as [Subject; 0]);
    assert!(roster.has_changed().unwrap() && roster.borrow().blind.is_empty());
}
