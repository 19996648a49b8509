//! The roster on its way up: a full list after the Hello, then only what changed. Pure.

use std::iter::Peekable;

use chaos_kitty::{
    limits,
    v1::{PlatformProblem, Target, TargetsChanged},
};
use prost::Message;

use crate::platform::{Roster, listed::Listed};

/// Bytes of targets in one message: a quarter of what gRPC lets pass, so that one long label can not
/// push a message over the limit.
const CHUNK_BYTES: usize = limits::MESSAGE_BYTES / 4;

/// Everything, for a server that knows nothing yet.
pub(crate) fn full(roster: &Roster) -> Vec<TargetsChanged> {
    let targets = roster.all().map(Listed::target);
    let mut messages = chunks(targets, std::iter::empty(), roster);
    if let Some(first) = messages.first_mut() {
        first.full = true;
    }
    messages
}

/// What leads from `old` to `new`. Empty when neither targets nor problems changed.
pub(crate) fn diff(old: &Roster, new: &Roster) -> Vec<TargetsChanged> {
    let is_new = |listed: &&Listed| old.get(listed.id()).is_none_or(|before| !before.is_told_as(listed));
    let upserted: Vec<_> = new.all().filter(is_new).map(Listed::target).collect();
    let gone = old.all().map(Listed::id).filter(|id| new.get(id).is_none());
    let removed: Vec<_> = gone.map(|id| String::from(&**id)).collect();
    if upserted.is_empty() && removed.is_empty() && old.problems == new.problems {
        return Vec::new();
    }
    chunks(upserted.into_iter(), removed.into_iter(), new)
}

/// Why platforms can not see their targets.
pub(crate) fn problems(roster: &Roster) -> Vec<PlatformProblem> {
    let problem = |(platform, message): (&&str, &String)| PlatformProblem {
        platform_type: (*platform).to_owned(),
        message: message.clone(),
    };
    roster.problems.iter().map(problem).collect()
}

/// At least one message; all carry the present problems, the last one is complete.
fn chunks(
    upserted: impl Iterator<Item = Target>,
    removed: impl Iterator<Item = String>,
    roster: &Roster,
) -> Vec<TargetsChanged> {
    let (mut upserted, mut removed) = (upserted.peekable(), removed.peekable());
    let mut messages = Vec::new();
    loop {
        let mut room = Room { entries: limits::TARGETS_PER_MESSAGE, bytes: CHUNK_BYTES };
        messages.push(TargetsChanged {
            removed: room.take(&mut removed, String::len),
            upserted: room.take(&mut upserted, Target::encoded_len),
            problems: problems(roster),
            ..TargetsChanged::default()
        });
        if upserted.peek().is_none() && removed.peek().is_none() {
            break;
        }
    }
    if let Some(last) = messages.last_mut() {
        last.complete = true;
    }
    messages
}

struct Room {
    entries: usize,
    bytes: usize,
}

impl Room {
    /// As many as there is room for.
    fn take<T>(&mut self, source: &mut Peekable<impl Iterator<Item = T>>, size: fn(&T) -> usize) -> Vec<T> {
        let mut taken = Vec::new();
        while self.entries > 0 && self.bytes > 0 {
            let Some(next) = source.next() else { break };
            self.entries -= 1;
            self.bytes = self.bytes.saturating_sub(size(&next));
            taken.push(next);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::platform::Subject;

    type Known = BTreeMap<String, Target>;

    fn roster(targets: impl IntoIterator<Item = Target>) -> Roster {
        let listed = |target| Arc::<Listed>::from(Subject { target, ..Subject::default() });
        let targets = targets.into_iter().map(listed).map(|listed| (listed.id().clone(), listed)).collect();
        Roster { targets: [("Platform", Arc::new(targets))].into(), problems: BTreeMap::new() }
    }

    fn known(roster: &Roster) -> Known {
        roster.all().map(|listed| (listed.id().to_string(), listed.target())).collect()
    }

    /// What a server does with the messages.
    fn apply(known: &mut Known, messages: Vec<TargetsChanged>) {
        for message in messages {
            if message.full {
                known.clear();
            }
            for id in message.removed {
                assert!(known.remove(&id).is_some(), "{id} was not known");
            }
            known.extend(message.upserted.into_iter().map(|target| (target.id.clone(), target)));
        }
    }

    fn rosters() -> impl Strategy<Value = Roster> {
        let target = |(id, name)| Target { id, name, ..Target::default() };
        prop::collection::btree_map("[a-e]{1,2}", "[x-z]", 0..20)
            .prop_map(move |entries| roster(entries.into_iter().map(target)))
    }

    fn assert_well_formed(messages: &[TargetsChanged]) {
        let (last, others) = messages.split_last().expect("one message at least");
        assert!(last.complete && others.iter().all(|message| !message.complete));
        for message in messages {
            assert!(message.upserted.len() + message.removed.len() <= limits::TARGETS_PER_MESSAGE);
            assert!(message.encoded_len() < limits::MESSAGE_BYTES);
        }
    }

    proptest! {
        #[test]
        fn the_full_list_and_then_the_differences_keep_the_server_up_to_date(
            rosters in prop::collection::vec(rosters(), 1..6),
        ) {
            let mut server = Known::from([("stale".to_owned(), Target::default())]);
            apply(&mut server, full(&rosters[0]));
            prop_assert_eq!(&server, &known(&rosters[0]));
            for pair in rosters.windows(2) {
                let messages = diff(&pair[0], &pair[1]);
                prop_assert_eq!(messages.is_empty(), pair[0] == pair[1]);
                apply(&mut server, messages);
                prop_assert_eq!(&server, &known(&pair[1]));
            }
        }
    }

    #[test]
    fn a_long_roster_comes_in_messages_that_grpc_lets_pass() {
        let label = "v".repeat(2000);
        let many = roster((0..3500).map(|n| Target {
            id: format!("process/web-1/nginx:{n}"),
            labels: [("k".to_owned(), label.clone())].into(),
            ..Target::default()
        }));
        let messages = full(&many);
        assert_well_formed(&messages);
        assert!(messages.len() >= 7 && messages[0].full && !messages[1].full);
        let gone = diff(&many, &Roster::default());
        assert_well_formed(&gone);
        assert_eq!(gone.len(), 4);
    }

    #[test]
    fn an_empty_roster_is_said_too_and_so_is_a_change_of_problems_alone() {
        let none = Roster::default();
        assert_well_formed(&full(&none));
        let blind =
            Roster { problems: [("ProcessPlatform", "no /proc".to_owned())].into(), ..Roster::default() };
        let messages = diff(&none, &blind);
        assert_well_formed(&messages);
        assert_eq!(messages[0].problems[0].message, "no /proc");
    }
}
