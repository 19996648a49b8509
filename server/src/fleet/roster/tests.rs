use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(600);

fn target(id: &str, node: &str, group: &str) -> Arc<Target> {
    let platform = match id.split('/').next() {
        Some("process") => "ProcessPlatform",
        Some("host") => "HostPlatform",
        _ => "WorkerPlatform",
    };
    Arc::new(Target {
        id: id.to_owned(),
        incarnation: "1:1".to_owned(),
        platform_type: platform.to_owned(),
        aggregation_identifier: group.to_owned(),
        name: id.rsplit('/').next().unwrap_or_default().to_owned(),
        agent_id: node.to_owned(),
        host: node.to_owned(),
        ..Target::default()
    })
}

fn roster(targets: &[Arc<Target>]) -> (Roster, Instant) {
    let (mut roster, now) = (Roster::new(WINDOW), Instant::now());
    for target in targets {
        roster.upsert(target.clone(), now).unwrap();
    }
    (roster, now)
}

fn selector(platform: &str, group: &str) -> Selector {
    Selector {
        platform_type: platform.to_owned(),
        aggregation_identifier: group.to_owned(),
        ..Selector::default()
    }
}

fn ids(targets: &[Arc<Target>]) -> Vec<&str> {
    targets.iter().map(|target| target.id.as_str()).collect()
}

#[test]
fn a_target_is_found_by_id_by_unique_name_and_by_host_and_rule() {
    let (roster, _) =
        roster(&[target("process/web-1/nginx:4", "web-1", "nginx"), target("host/web-1", "web-1", "")]);
    for wanted in ["process/web-1/nginx:4", "nginx:4", "process/web-1/nginx"] {
        assert_eq!(roster.resolve(wanted).map(|t| t.id.clone()), Ok("process/web-1/nginx:4".to_owned()));
    }
    assert_eq!(roster.resolve("process/web-2/nginx").unwrap_err().code, Code::NoSuchTarget);
    assert_eq!(roster.resolve("").unwrap_err().code, Code::NoSuchTarget);
}

#[test]
fn what_fits_several_is_refused_with_the_candidates() {
    let (roster, _) = roster(&[
        target("process/web-1/nginx:4", "web-1", "nginx"),
        target("process/web-1/nginx:5", "web-1", "nginx"),
        target("worker/a/till", "a", ""),
        target("worker/b/till", "b", ""),
    ]);
    let problem = roster.resolve("process/web-1/nginx").unwrap_err();
    assert_eq!(problem.code, Code::Ambiguous);
    assert!(problem.message.contains("process/web-1/nginx:4, process/web-1/nginx:5"), "{problem}");
    assert_eq!(roster.resolve("till").unwrap_err().code, Code::Ambiguous);
}

#[test]
fn another_agents_target_is_not_taken_over_while_that_agent_is_there() {
    let (mut roster, now) = roster(&[target("worker/x/1", "a", "g")]);
    assert_eq!(roster.upsert(target("worker/x/1", "b", "g"), now), Err("a".to_owned()));
    roster.hide_all_of("a", now);
    assert_eq!(roster.upsert(target("worker/x/1", "b", "g"), now), Ok(Change::Added));
    assert_eq!((roster.count_of("a"), roster.count_of("b")), (0, 1));
}

#[test]
fn targets_of_a_lost_agent_are_known_but_can_not_be_hit() {
    let (mut roster, now) = roster(&[target("worker/x/1", "a", "g")]);
    assert_eq!(ids(&roster.hide_all_of("a", now)), ["worker/x/1"]);
    assert!(roster.hide_all_of("a", now).is_empty());
    assert_eq!(roster.resolve("1").unwrap_err().code, Code::AgentUnreachable);
    assert!(roster.select(&Selector::default()).unwrap().is_empty());
    assert_eq!(roster.upsert(target("worker/x/1", "a", "g"), now), Ok(Change::Added));
}

#[test]
fn a_group_on_several_platforms_needs_the_platform() {
    let (roster, _) = roster(&[target("worker/a/1", "a", "g"), target("process/b/g:1", "b", "g")]);
    let problem = roster.select(&selector("", "g")).unwrap_err();
    assert_eq!(problem.code, Code::Ambiguous);
    assert!(problem.message.contains("ProcessPlatform, WorkerPlatform"), "{problem}");
    assert_eq!(ids(&roster.select(&selector("WorkerPlatform", "g")).unwrap()), ["worker/a/1"]);
    assert!(roster.select(&selector("", "unknown")).unwrap().is_empty());
}

#[test]
fn a_selection_is_ordered_by_name_and_obeys_labels() {
    let mut red = Target::clone(&target("worker/z/1", "z", "g"));
    red.labels.insert("colour".to_owned(), "red".to_owned());
    let (roster, _) = roster(&[target("worker/a/2", "a", "g"), Arc::new(red)]);
    assert_eq!(ids(&roster.select(&selector("", "g")).unwrap()), ["worker/z/1", "worker/a/2"]);
    let labels = [("colour".to_owned(), "red".to_owned())].into();
    assert_eq!(ids(&roster.select(&Selector { labels, ..selector("", "") }).unwrap()), ["worker/z/1"]);
}

#[test]
fn a_group_is_as_large_as_it_was_within_the_window() {
    let (mut roster, now) = roster(&[target("worker/a/1", "a", "g"), target("worker/b/2", "b", "g")]);
    roster.remove("worker/b/2", now);
    let left = target("worker/a/1", "a", "g");
    let peak = |roster: &Roster, at| roster.group_of(&left, at).map(|view| view.peak);
    assert_eq!(peak(&roster, now + WINDOW), Some(2));
    assert_eq!(peak(&roster, now + WINDOW + Duration::from_secs(1)), Some(1));
    roster.remove("worker/a/1", now);
    roster.prune(now + WINDOW * 2);
    assert!(roster.groups.is_empty());
}

#[test]
fn a_recycled_pid_is_another_life_of_the_target() {
    let (mut roster, now) = roster(&[target("worker/a/1", "a", "g")]);
    let mut again =
        Target { incarnation: "1:2".to_owned(), ..Target::clone(&target("worker/a/1", "a", "g")) };
    assert!(matches!(roster.upsert(Arc::new(again.clone()), now), Ok(Change::Reborn(_))));
    assert_eq!(roster.upsert(Arc::new(again.clone()), now), Ok(Change::Same));
    again.labels.insert("rack".to_owned(), "7".to_owned());
    assert_eq!(roster.upsert(Arc::new(again), now), Ok(Change::Changed));
}

#[test]
fn who_is_away_is_known_for_a_window_and_who_ended_does_not_come_back() {
    let (mut roster, now) = roster(&[target("process/a/g:1", "a", "g"), target("worker/b/2", "b", "g")]);
    assert_eq!(roster.hide_all_of("a", now).len(), 1);
    assert_eq!(roster.resolve("g:1").unwrap_err().code, Code::AgentUnreachable);
    roster.prune(now + WINDOW);
    assert_eq!(roster.resolve("g:1").unwrap_err().code, Code::AgentUnreachable);
    roster.prune(now + WINDOW + Duration::from_secs(1));
    assert_eq!(roster.resolve("g:1").unwrap_err().code, Code::NoSuchTarget);
    assert!(!roster.has_ended(&target("process/a/g:1", "a", "g")));
    roster.end("worker/b/2", now);
    assert!(roster.has_ended(&target("worker/b/2", "b", "g")) && roster.get("worker/b/2").is_none());
}

#[test]
fn what_a_platform_can_not_see_is_dropped_only_when_it_sees_again() {
    let (mut roster, now) = roster(&[target("process/a/g:1", "a", "g"), target("host/a", "a", "")]);
    roster.hide_all_of("a", now);
    let blind = ["ProcessPlatform".to_owned()];
    assert_eq!(ids(&roster.drop_hidden("a", &blind, now)), ["host/a"]);
    assert_eq!(ids(&roster.drop_hidden("a", &[], now)), ["process/a/g:1"]);
}

proptest! {
    /// Whatever comes and goes, the indexes say what the entries say.
    #[test]
    fn indexes_and_entries_never_disagree(steps in prop::collection::vec((0u8..3, 0u8..8, 0u8..3, 0u8..3), 1..80)) {
        let (mut roster, now) = (Roster::new(WINDOW), Instant::now());
        for (what, id, node, group) in steps {
            let (id, node) = (format!("worker/x/{id}"), format!("n{node}"));
            let group = if group == 0 { String::new() } else { format!("g{group}") };
            match what {
                0 => drop(roster.upsert(target(&id, &node, &group), now)),
                1 => drop(roster.remove(&id, now)),
                _ => drop(roster.hide_all_of(&node, now)),
            }
            let by_name: usize = roster.names.values().map(BTreeSet::len).sum();
            let by_node: usize = roster.nodes.values().map(|owned| owned.ids.len()).sum();
            let in_groups: usize = roster.groups.values().map(|group| group.members.len()).sum();
            let grouped = roster.all().filter(|target| !target.aggregation_identifier.is_empty()).count();
            prop_assert_eq!((by_name, by_node), (roster.entries.len(), roster.entries.len()));
            prop_assert_eq!(in_groups, grouped);
        }
    }
}

#[test]
fn a_group_is_as_large_as_the_most_that_were_alive_at_one_moment() {
    let (mut roster, now) = roster(&[target("process/a/web:1", "a", "web")]);
    let size = |roster: &Roster, now| roster.group_of(&target("process/a/x", "a", "web"), now).unwrap().peak;
    let mut at = now;
    for generation in 2..6 {
        at += Duration::from_secs(1);
        roster.remove(&format!("process/a/web:{}", generation - 1), at);
        roster.upsert(target(&format!("process/a/web:{generation}"), "a", "web"), at).unwrap();
        assert_eq!(size(&roster, at), 1, "generation {generation}");
    }
    let gone = Target {
        health: State::DoesNotExist.into(),
        ..Target::clone(&target("process/a/web:9", "a", "web"))
    };
    roster.upsert(Arc::new(gone), at).unwrap();
    assert_eq!(size(&roster, at), 1, "what does not exist");
    at += Duration::from_secs(1);
    roster.upsert(target("process/a/web:8", "a", "web"), at).unwrap();
    roster.remove("process/a/web:8", at);
    let view = roster.group_of(&target("process/a/x", "a", "web"), at).unwrap();
    assert_eq!((view.peak, view.peak_at, view.left), (2, Some(at), vec!["web:8".to_owned()]));
    assert_eq!(size(&roster, at + WINDOW * 2), 1);
}
