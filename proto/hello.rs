//! What a Hello must be, for whoever accepts one: the server and every relay. Pure.

use crate::{
    Code, Problem, bounds, limits,
    v1::{Hello, Refusal, agent_role::Name as Role},
};

/// Checks a Hello, and answers with the newest version of the stream's protocol that both ends speak.
///
/// # Errors
/// [`Code::InvalidArgument`] names the field that can not be used or is over its bounds, [`Code::RelayLoop`] a path that comes
/// back to the node or is longer than [`limits::RELAY_HOPS`], [`Code::ProtocolVersion`] that there is no common version.
pub fn check_hello(hello: &Hello) -> Result<u32, Problem> {
    check_id("agent_id", &hello.agent_id)?;
    bounds::check(hello)?;
    check_host(&hello.host)?;
    check_text("group", &hello.group)?;
    check_text("name", &hello.name)?;
    check_labels(hello)?;
    check_path(hello)?;
    if !matches!(hello.role(), Role::Agent | Role::Worker) {
        return Err(Problem::invalid("role", "it is neither AGENT nor WORKER"));
    }
    if hello.protocol_versions.contains(&limits::PROTOCOL_VERSION) {
        return Ok(limits::PROTOCOL_VERSION);
    }
    let ours = limits::PROTOCOL_VERSION;
    let message =
        format!("the node speaks versions {:?} of the stream, here it is {ours}", hello.protocol_versions);
    Err(Problem::new(Code::ProtocolVersion, message).hint("run the same release of ChaosKitty at both ends"))
}

/// Tells a node that it is not attached, or no longer. Permanent: the same Hello has no chance, whenever it comes
/// again.
pub fn refusal(problem: Problem) -> Refusal {
    let passing = matches!(
        problem.code,
        Code::DuplicateAgent | Code::ConnectionLost | Code::FellBehind | Code::LimitReached | Code::Stopping
    );
    Refusal { problem: Some(problem.into()), permanent: !passing }
}

/// Whether a node may be called so: 1 to [`limits::AGENT_ID_BYTES`] letters, digits, `.`, `_` or `-`.
///
/// # Errors
/// [`Code::InvalidArgument`], naming the field.
pub fn check_id(field: &str, id: &str) -> Result<(), Problem> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=limits::AGENT_ID_BYTES).contains(&id.len()) && id.chars().all(allowed) {
        return Ok(());
    }
    let most = limits::AGENT_ID_BYTES;
    let what = format!("{:?} is not 1 to {most} letters, digits, '.', '_' or '-'", shortened(id));
    Err(Problem::invalid(field, what))
}

/// A host becomes a part of its targets' ids, hence no slashes.
fn check_host(host: &str) -> Result<(), Problem> {
    if host.is_empty() || host.contains('/') || host.contains(char::is_whitespace) {
        let what = format!("{:?} is empty, or has a slash or a space", shortened(host));
        return Err(Problem::invalid("host", what));
    }
    check_text("host", host)
}

fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    if text.contains(char::is_control) {
        return Err(Problem::invalid(field, "it has control characters"));
    }
    Ok(())
}

fn check_labels(hello: &Hello) -> Result<(), Problem> {
    hello.labels.iter().try_for_each(|(key, value)| {
        check_text("labels", key)?;
        check_text("labels", value)
    })
}

fn check_path(hello: &Hello) -> Result<(), Problem> {
    hello.path.iter().try_for_each(|id| check_id("path", id))?;
    let hops = hello.path.len();
    let looped = hello.path.contains(&hello.agent_id)
        || hello.path.iter().enumerate().any(|(at, id)| hello.path[..at].contains(id));
    if !looped && hops <= limits::RELAY_HOPS {
        return Ok(());
    }
    let message = format!("node {:?} is behind the relays {:?}", hello.agent_id, hello.path);
    Err(Problem::new(Code::RelayLoop, message)
        .hint(format!("let the agents attach in a line of at most {} to the server", limits::RELAY_HOPS)))
}

/// What a message can bear to quote.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            agent_id: "web-1".into(),
            host: "web-1".into(),
            role: Role::Agent.into(),
            protocol_versions: vec![limits::PROTOCOL_VERSION],
            ..Hello::default()
        }
    }

    fn refused(spoil: impl FnOnce(&mut Hello)) -> Code {
        let mut hello = hello();
        spoil(&mut hello);
        check_hello(&hello).expect_err("a spoilt Hello").code
    }

    #[test]
    fn a_good_hello_is_accepted_and_the_newest_common_version_chosen() {
        assert_eq!(check_hello(&hello()), Ok(1));
        assert_eq!(check_hello(&Hello { protocol_versions: vec![9, 1], ..hello() }), Ok(1));
    }

    #[test]
    fn every_field_that_can_not_be_used_is_named() {
        assert_eq!(refused(|hello| hello.agent_id.clear()), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.agent_id = "a/b".into()), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.agent_id = "a".repeat(129)), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.host = "a b".into()), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.group = "g".repeat(254)), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.name = "\n".into()), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.role = 0), Code::InvalidArgument);
        assert_eq!(refused(|hello| hello.role = 77), Code::InvalidArgument);
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(refused(|hello| hello.labels = many), Code::InvalidArgument);
    }

    #[test]
    fn a_node_that_speaks_only_other_versions_is_refused() {
        assert_eq!(refused(|hello| hello.protocol_versions.clear()), Code::ProtocolVersion);
        assert_eq!(refused(|hello| hello.protocol_versions = vec![2]), Code::ProtocolVersion);
    }

    #[test]
    fn a_path_that_comes_back_or_never_ends_is_a_loop() {
        assert_eq!(refused(|hello| hello.path = vec!["web-1".into()]), Code::RelayLoop);
        assert_eq!(refused(|hello| hello.path = vec!["a".into(), "b".into(), "a".into()]), Code::RelayLoop);
        let long = (0..=limits::RELAY_HOPS).map(|n| n.to_string()).collect();
        assert_eq!(refused(|hello| hello.path = long), Code::RelayLoop);
    }

    proptest! {
        #[test]
        fn an_accepted_id_is_safe_in_paths_and_in_target_ids(id in ".{0,140}") {
            if check_id("agent_id", &id).is_ok() {
                prop_assert!(!id.is_empty() && id.len() <= limits::AGENT_ID_BYTES);
                prop_assert!(!id.contains(['/', ':', ' ', '\0']));
            }
        }
    }
}
