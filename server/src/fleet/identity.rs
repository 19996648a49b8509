//! Who a node is: what its Hello claims, what the socket knows, and the one target that a worker is. Pure.

use chaos_kitty::{
    Code, Problem, bounds,
    hello::check_hello,
    v1::{Hello, Target, action_kind::Name as Kind, agent_role::Name as Role, target_health::State},
};

use crate::listen::PeerInfo;

/// What a worker can do unless it says otherwise.
const WORKER_ACTIONS: [Kind; 6] = [Kind::Delay, Kind::Kill, Kind::Memory, Kind::Cpu, Kind::Gc, Kind::Error];

/// Takes a Hello for what can be known of it: the pid of a direct peer is the socket's word or nobody's, that
/// of a relayed node its relay's.
///
/// # Errors
/// See [`check_hello`]; [`Code::ProtocolViolation`] where address and path do not fit the stream.
pub(super) fn identify(
    mut hello: Hello,
    address: &str,
    relay: Option<&str>,
    peer: &PeerInfo,
) -> Result<Hello, Problem> {
    check_hello(&hello)?;
    match relay {
        None => {
            if !hello.path.is_empty() {
                return Err(broken("the first Hello of a stream is its peer's own, and has no path"));
            }
            let seen = peer.unix;
            hello.verified = seen.is_some();
            hello.start_time = seen.map_or(0, |seen| seen.start_time);
            if let Some(seen) = seen {
                hello.pid = seen.pid;
            } else if peer.tcp.is_none() {
                hello.pid = 0;
            }
        }
        Some(relay) => {
            if hello.path.last().map(String::as_str) != Some(relay) {
                return Err(broken(
                    "the path of a relayed Hello ends with the relay that this stream is from",
                ));
            }
            if hello.agent_id != address {
                return Err(broken("a relayed Hello is addressed by the id of its node"));
            }
        }
    }
    Ok(hello)
}

pub(super) fn broken(what: &str) -> Problem {
    Problem::new(Code::ProtocolViolation, what).hint("see docs/decisions/0001-stream-and-lease.md")
}

/// The target that a worker is; `None` for agents.
pub(super) fn worker_target(hello: &Hello) -> Option<Target> {
    if hello.role() != Role::Worker {
        return None;
    }
    let verified = hello.verified && hello.pid > 0;
    let handle = if hello.pid > 0 { hello.pid.to_string() } else { hello.agent_id.clone() };
    let base = if hello.group.is_empty() { &hello.host } else { &hello.group };
    let name = if hello.name.is_empty() { format!("{base}:{handle}") } else { hello.name.clone() };
    let actions = if hello.actions.is_empty() {
        WORKER_ACTIONS.iter().map(|kind| i32::from(*kind)).collect()
    } else {
        hello.actions.clone()
    };
    Some(Target {
        id: format!("worker/{}/{}", hello.host, hello.agent_id),
        incarnation: if verified {
            format!("{}:{}", hello.pid, hello.start_time)
        } else {
            hello.agent_id.clone()
        },
        platform_type: "WorkerPlatform".to_owned(),
        aggregation_identifier: hello.group.clone(),
        name,
        agent_id: hello.agent_id.clone(),
        host: hello.host.clone(),
        pids: if verified { vec![hello.pid] } else { Vec::new() },
        cattle: hello.cattle,
        health: State::Normal.into(),
        actions,
        labels: hello.labels.clone(),
        ..Target::default()
    })
}

/// Actions that an agent may keep from a target.
const WITHHELD: usize = 64;

/// Whether an agent may offer this target. The agent's id is put in by the caller.
pub(super) fn acceptable(target: &Target) -> Result<(), String> {
    bounds::check(target).map_err(|problem| problem.message)?;
    sound(target).map_err(str::to_owned)
}

fn sound(target: &Target) -> Result<(), &'static str> {
    let texts =
        [&target.id, &target.name, &target.platform_type, &target.aggregation_identifier, &target.host];
    if target.id.is_empty() || target.name.is_empty() || target.platform_type.is_empty() {
        return Err("id, name or platform is empty");
    }
    if texts.iter().any(|text| text.contains(char::is_control)) {
        return Err("a text has control characters");
    }
    if target.withheld.len() > WITHHELD {
        return Err("it withholds more actions than there are");
    }
    if target.id.starts_with("worker/") {
        return Err("workers come with a Hello of their own");
    }
    Ok(())
}

/// Whether the newer of two nodes of one id is the older one come again: the same process on the same boot.
pub(super) fn same_process(older: &Hello, newer: &Hello) -> bool {
    !older.boot_id.is_empty()
        && older.boot_id == newer.boot_id
        && older.pid > 0
        && older.pid == newer.pid
        && older.start_time == newer.start_time
}

#[cfg(test)]
mod tests {
    use chaos_kitty::limits;

    use super::*;

    fn hello() -> Hello {
        Hello {
            agent_id: "a".to_owned(),
            host: "web-1".to_owned(),
            pid: 1,
            start_time: 77,
            verified: true,
            role: Role::Worker.into(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            ..Hello::default()
        }
    }

    fn tcp() -> PeerInfo {
        PeerInfo { tcp: Some(([127, 0, 0, 1], 1).into()), ..PeerInfo::default() }
    }

    fn foreign_namespace() -> PeerInfo {
        PeerInfo::default()
    }

    #[test]
    fn a_pid_that_is_merely_claimed_names_no_process() {
        for peer in [tcp(), foreign_namespace()] {
            let target = worker_target(&identify(hello(), "", None, &peer).unwrap()).unwrap();
            assert_eq!((target.pids.as_slice(), target.incarnation.as_str()), ([].as_slice(), "a"));
        }
    }

    #[tokio::test]
    async fn over_a_unix_socket_the_pid_is_the_sockets_word_and_not_the_claim() {
        let (one, _two) = tokio::net::UnixStream::pair().unwrap();
        let peer = PeerInfo { unix: chaos_kitty::peer::Peer::of(&one), ..PeerInfo::default() };
        let target = worker_target(&identify(hello(), "", None, &peer).unwrap()).unwrap();
        assert_eq!(target.pids, [std::process::id()]);
        assert!(target.incarnation.starts_with(&format!("{}:", std::process::id())));
    }

    #[test]
    fn a_relays_word_on_its_neighbours_stands() {
        let relayed = Hello { path: vec!["b".to_owned(), "relay".to_owned()], ..hello() };
        let known = identify(relayed.clone(), "a", Some("relay"), &tcp()).unwrap();
        assert_eq!(worker_target(&known).unwrap().incarnation, "1:77");
        assert!(identify(relayed.clone(), "other", Some("relay"), &tcp()).is_err());
        assert!(identify(relayed, "a", Some("b"), &tcp()).is_err());
        assert!(identify(hello(), "a", Some("relay"), &tcp()).is_err());
    }

    #[test]
    fn an_unnamed_worker_is_called_by_its_group_and_pid() {
        let mut hello = hello();
        assert_eq!(worker_target(&hello).unwrap().name, "web-1:1");
        hello.group = "billing".to_owned();
        assert_eq!(worker_target(&hello).unwrap().name, "billing:1");
        hello.name = "till".to_owned();
        assert_eq!(worker_target(&hello).unwrap().name, "till");
    }

    #[test]
    fn only_the_same_process_of_the_same_boot_takes_its_own_place() {
        let with_boot = |boot: &str| Hello { boot_id: boot.to_owned(), ..hello() };
        assert!(same_process(&with_boot("x"), &with_boot("x")));
        assert!(!same_process(&with_boot("x"), &with_boot("y")));
        assert!(!same_process(&with_boot(""), &with_boot("")));
        assert!(!same_process(&with_boot("x"), &Hello { pid: 2, ..with_boot("x") }));
    }
}
