//! The table, without any stream.

use std::collections::{BTreeMap, BTreeSet};

use chaos_kitty::{
    Code, limits,
    v1::{
        AgentMessage, Goodbye, Hello, Ping, Pong, Refusal, ServerMessage, agent_message::Kind as Up,
        agent_role::Name as Role, server_message::Kind as Down,
    },
};
use proptest::prelude::*;

use super::table::{Effect, Link, Table};

fn hello(id: &str, path: &[&str]) -> Hello {
    Hello {
        agent_id: id.to_owned(),
        host: "h".to_owned(),
        role: Role::Agent.into(),
        protocol_versions: vec![limits::PROTOCOL_VERSION],
        path: path.iter().map(|id| (*id).to_owned()).collect(),
        ..Hello::default()
    }
}

fn worker(id: &str, pid: u32) -> Hello {
    Hello { role: Role::Worker.into(), pid, verified: true, ..hello(id, &[]) }
}

fn up(node: &str, kind: Up) -> AgentMessage {
    AgentMessage { node: node.to_owned(), kind: Some(kind) }
}

fn ping(node: &str) -> ServerMessage {
    ServerMessage { node: node.to_owned(), kind: Some(Down::Ping(Ping { number: 1 })) }
}

fn pong() -> Up {
    Up::Pong(Pong { number: 1 })
}

fn goodbyes(effects: Vec<Effect>) -> BTreeMap<String, bool> {
    let said = |effect| match effect {
        Effect::Up(AgentMessage { node, kind: Some(Up::Goodbye(Goodbye { process_ended, .. })) }) => {
            (node, process_ended)
        }
        other => panic!("no Goodbye: {other:?}"),
    };
    effects.into_iter().map(said).collect()
}

/// A table of the relay `r` with the worker `w` on link 1 and the agent `a`, before `b`, on link 2.
fn table() -> Table {
    let mut table = Table::new("r".to_owned());
    table.attach(1, worker("w", 10), false).unwrap();
    table.attach(2, hello("a", &[]), false).unwrap();
    table.upward(2, up("b", Up::Hello(hello("b", &["a"])))).unwrap();
    table
}

#[test]
fn a_hello_goes_up_with_the_relay_at_the_end_of_its_path() {
    let mut table = Table::new("r".to_owned());
    let direct = table.attach(1, hello("a", &[]), false).unwrap();
    assert_eq!(direct, [Effect::Up(up("a", Up::Hello(hello("a", &["r"]))))]);
    let deeper = table.upward(1, up("b", Up::Hello(hello("b", &["a"])))).unwrap();
    assert_eq!(deeper, [Effect::Up(up("b", Up::Hello(hello("b", &["a", "r"]))))]);
}

#[test]
fn ids_are_filled_in_on_the_way_up_and_cleared_for_the_neighbour_on_the_way_down() {
    let mut table = table();
    assert_eq!(table.upward(1, up("", pong())).unwrap(), [Effect::Up(up("w", pong()))]);
    assert_eq!(table.upward(2, up("b", pong())).unwrap(), [Effect::Up(up("b", pong()))]);
    assert_eq!(table.downward(ping("w")), [Effect::Down(1, ping(""))]);
    assert_eq!(table.downward(ping("b")), [Effect::Down(2, ping("b"))]);
    assert_eq!(table.downward(ping("stranger")), []);
}

#[test]
fn a_neighbour_can_not_speak_for_a_node_of_another() {
    let mut table = table();
    assert_eq!(table.upward(2, up("w", pong())).unwrap(), []);
    let refused = table.upward(1, up("x", Up::Hello(hello("x", &["w"])))).unwrap_err();
    assert_eq!(refused.code, Code::ProtocolViolation);
    let refused = table.upward(2, up("", Up::Hello(hello("a", &[])))).unwrap_err();
    assert_eq!(refused.code, Code::ProtocolViolation);
}

#[test]
fn a_loop_is_refused_at_any_depth() {
    let mut table = table();
    assert_eq!(table.attach(3, hello("r", &[]), false).unwrap_err().code, Code::RelayLoop);
    let effects = table.upward(2, up("c", Up::Hello(hello("c", &["r", "a"])))).unwrap();
    let [Effect::Down(2, ServerMessage { node, kind: Some(Down::Refusal(refusal)) })] = effects.as_slice()
    else {
        panic!("no refusal: {effects:?}")
    };
    assert_eq!((node.as_str(), refusal.permanent), ("c", true));
    assert_eq!(refusal.problem.as_ref().unwrap().code, Code::RelayLoop.number());
}

#[test]
fn of_two_nodes_with_one_id_the_newer_wins_only_as_the_same_process_or_over_a_dead_one() {
    let mut table = table();
    let refused = table.attach(3, worker("w", 11), false).unwrap_err();
    assert_eq!(refused.code, Code::DuplicateAgent);
    assert!(refused.message.contains("10") && refused.message.contains("11"), "both are named: {refused}");

    let effects = table.attach(3, worker("w", 10), false).unwrap();
    let [Effect::Up(left), Effect::Cut(1, problem), Effect::Up(_)] = effects.as_slice() else {
        panic!("not replaced: {effects:?}")
    };
    assert!(matches!(&left.kind, Some(Up::Goodbye(goodbye)) if !goodbye.process_ended));
    assert_eq!(problem.code, Code::DuplicateAgent);
    assert_eq!(table.detach(1, false), [], "what replaced it stays");
    assert_eq!(table.link_of("w"), Some(3));

    let effects = table.attach(4, worker("w", 12), true).unwrap();
    assert!(
        matches!(&effects[0], Effect::Up(AgentMessage { kind: Some(Up::Goodbye(goodbye)), .. }) if goodbye.process_ended)
    );
}

#[test]
fn with_a_neighbour_all_nodes_behind_it_are_gone_and_only_its_own_process_has_ended() {
    let mut table = table();
    let gone = goodbyes(table.detach(2, true));
    assert_eq!(gone, BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]));
    assert_eq!(table.downward(ping("b")), []);
    assert_eq!(table.upward(2, up("b", pong())).unwrap(), []);
}

#[test]
fn a_refusal_of_the_server_ends_the_stream_of_a_neighbour_and_only_the_node_of_a_deeper_one() {
    let refuse = |node: &str| {
        let kind = Some(Down::Refusal(Refusal::default()));
        ServerMessage { node: node.to_owned(), kind }
    };
    let mut table = table();
    assert!(matches!(table.downward(refuse("b")).as_slice(), [Effect::Down(2, _)]));
    assert_eq!(table.upward(2, up("b", pong())).unwrap(), [], "a refused node has nothing more to say");
    assert!(matches!(table.downward(refuse("w")).as_slice(), [Effect::Down(1, _), Effect::Cut(1, _)]));
}

#[derive(Clone, Debug)]
enum Step {
    Attach(Link, u8, bool),
    Behind(Link, u8),
    Say(Link, u8),
    Leave(Link, u8),
    Order(u8),
    Detach(Link, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (link, node) = (1u64..5, 0u8..6);
    prop_oneof![
        (link.clone(), node.clone(), any::<bool>()).prop_map(|(l, n, e)| Step::Attach(l, n, e)),
        (link.clone(), node.clone()).prop_map(|(l, n)| Step::Behind(l, n)),
        (link.clone(), node.clone()).prop_map(|(l, n)| Step::Say(l, n)),
        (link.clone(), node.clone()).prop_map(|(l, n)| Step::Leave(l, n)),
        node.prop_map(Step::Order),
        (link, any::<bool>()).prop_map(|(l, e)| Step::Detach(l, e)),
    ]
}

proptest! {
    /// The server's view, kept from the effects alone, is at each moment the set of nodes that can be reached.
    #[test]
    fn the_server_is_told_of_every_node_that_comes_and_goes(steps in prop::collection::vec(step(), 1..60)) {
        let mut table = Table::new("r".to_owned());
        let mut server = BTreeSet::new();
        let mut direct: BTreeMap<Link, String> = BTreeMap::new();
        for step in steps {
            let effects = match step {
                Step::Attach(link, node, ended) if !direct.contains_key(&link) => {
                    let id = format!("n{node}");
                    let effects = table.attach(link, Hello { pid: 1, ..hello(&id, &[]) }, ended);
                    if effects.is_ok() {
                        direct.insert(link, id);
                    }
                    effects.unwrap_or_default()
                }
                Step::Attach(..) => Vec::new(),
                Step::Behind(link, node) => {
                    let (id, relay) = (format!("n{node}"), direct.get(&link).cloned().unwrap_or_default());
                    table.upward(link, up(&id, Up::Hello(hello(&id, &[&relay])))).unwrap()
                }
                Step::Say(link, node) => table.upward(link, up(&format!("n{node}"), pong())).unwrap(),
                Step::Leave(link, node) => {
                    table.upward(link, up(&format!("n{node}"), Up::Goodbye(Goodbye::default()))).unwrap()
                }
                Step::Order(node) => {
                    let id = format!("n{node}");
                    let effects = table.downward(ping(&id));
                    prop_assert_eq!(effects.is_empty(), !server.contains(&id));
                    effects
                }
                Step::Detach(link, ended) => {
                    direct.remove(&link);
                    table.detach(link, ended)
                }
            };
            for effect in effects {
                match effect {
                    Effect::Up(AgentMessage { node, kind: Some(Up::Hello(_)) }) => {
                        prop_assert!(server.insert(node), "a second Hello without a Goodbye between");
                    }
                    Effect::Up(AgentMessage { node, kind: Some(Up::Goodbye(_)) }) => {
                        prop_assert!(server.remove(&node), "a Goodbye of a node that is not there");
                    }
                    Effect::Up(AgentMessage { node, .. }) => prop_assert!(server.contains(&node)),
                    Effect::Down(..) | Effect::Cut(..) => {}
                }
            }
        }
    }
}
