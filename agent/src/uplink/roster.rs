//! The roster on its way up: a full list after the Hello, then only what changed.

use std::{collections::BTreeSet, iter::Peekable, mem, sync::Arc, vec};

use chaos_kitty::{
    limits,
    v1::{PlatformProblem, TargetsChanged},
};

use crate::{
    platform::{Roster, listed::Listed},
    policy::offer::Offer,
};

/// Bytes of targets in one message. The transport keeps a buffer as large as its largest message on both sides, for as long
/// as the stream lasts; and one long label must not push a message over what gRPC lets pass.
const CHUNK_BYTES: usize = 16 << 10;

/// Everything, for a server that knows nothing yet.
pub(crate) fn full(roster: &Roster, offer: &Arc<Offer>) -> Messages {
    Messages { full: true, ..Messages::new(roster.all().cloned().collect(), Vec::new(), roster, offer) }
}

/// What leads from `old` to `new`. None when neither targets nor problems changed.
pub(crate) fn diff(old: &Roster, new: &Roster, offer: &Arc<Offer>) -> Messages {
    let is_new = |listed: &&Arc<Listed>| old.get(listed.id()).is_none_or(|before| !before.is_told_as(listed));
    let upserted: Vec<_> = new.all().filter(is_new).cloned().collect();
    let gone = old.all().map(|listed| listed.id()).filter(|id| new.get(id).is_none());
    let removed: Vec<_> = gone.cloned().collect();
    let is_told = old.problems == new.problems && old.blind == new.blind;
    let is_none = upserted.is_empty() && removed.is_empty() && is_told;
    Messages { over: is_none, ..Messages::new(upserted, removed, new, offer) }
}

/// Why platforms can not see their targets.
pub(crate) fn problems(roster: &Roster) -> Vec<PlatformProblem> {
    let platforms: BTreeSet<&str> = roster.problems.keys().chain(&roster.blind).copied().collect();
    let problem = |platform: &str| PlatformProblem {
        platform_type: platform.to_owned(),
        message: roster
            .problems
            .get(platform)
            .map_or("it has not looked for its targets yet", String::as_str)
            .to_owned(),
        blind: roster.blind.contains(platform),
    };
    platforms.into_iter().map(problem).collect()
}

/// A change of the roster, in messages that are made when they are asked for: of thousands of targets only those of one
/// message are unpacked at a time. All carry the present problems, the last one is complete.
pub(crate) struct Messages {
    upserted: Peekable<vec::IntoIter<Arc<Listed>>>,
    removed: Peekable<vec::IntoIter<Arc<str>>>,
    problems: Vec<PlatformProblem>,
    offer: Arc<Offer>,
    /// The next one begins a full list.
    full: bool,
    /// There is no next one.
    over: bool,
}

impl Messages {
    fn new(upserted: Vec<Arc<Listed>>, removed: Vec<Arc<str>>, roster: &Roster, offer: &Arc<Offer>) -> Self {
        let (upserted, removed) = (upserted.into_iter().peekable(), removed.into_iter().peekable());
        let (problems, offer) = (problems(roster), offer.clone());
        Self { upserted, removed, problems, offer, full: false, over: false }
    }
}

impl Iterator for Messages {
    type Item = TargetsChanged;

    fn next(&mut self) -> Option<TargetsChanged> {
        if self.over {
            return None;
        }
        let mut room = Room { entries: limits::TARGETS_PER_MESSAGE, bytes: CHUNK_BYTES };
        let removed = room.take(&mut self.removed, |id| id.len(), |id| String::from(&*id));
        let told = |listed: Arc<Listed>| self.offer.told(&listed);
        let upserted = room.take(&mut self.upserted, |listed| listed.size(), told);
        self.over = self.upserted.peek().is_none() && self.removed.peek().is_none();
        let (problems, full, complete) = (self.problems.clone(), mem::take(&mut self.full), self.over);
        Some(TargetsChanged { full, upserted, removed, complete, problems })
    }
}

struct Room {
    entries: usize,
    bytes: usize,
}

impl Room {
    /// As many as there is room for.
    fn take<S, T>(
        &mut self,
        source: &mut Peekable<vec::IntoIter<S>>,
        size: impl Fn(&S) -> usize,
        told: impl Fn(S) -> T,
    ) -> Vec<T> {
        let mut taken = Vec::new();
        while self.entries > 0 && self.bytes > 0 {
            let Some(next) = source.next() else { break };
            self.entries -= 1;
            self.bytes = self.bytes.saturating_sub(size(&next));
            taken.push(told(next));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chaos_kitty::v1::Target;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::platform::Subject;

    type Known = BTreeMap<String, Target>;

    fn roster(targets: impl IntoIterator<Item = Target>) -> Roster {
        let listed = |target| Arc::<Listed>::from(Subject { target, ..Subject::default() });
        let targets = targets.into_iter().map(listed).map(|listed| (listed.id().clone(), listed)).collect();
        Roster { targets: [("Platform", Arc::new(targets))].into(), ..Roster::default() }
    }

    fn known(roster: &Roster) -> Known {
        roster.all().map(|listed| (listed.id().to_string(), listed.target())).collect()
    }

    /// What a server does with the messages.
    fn apply(known: &mut Known, messages: impl IntoIterator<Item = TargetsChanged>) {
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
            let offer = Arc::<Offer>::default();
            let mut server = Known::from([("stale".to_owned(), Target::default())]);
            apply(&mut server, full(&rosters[0], &offer));
            prop_assert_eq!(&server, &known(&rosters[0]));
            for pair in rosters.windows(2) {
                let messages: Vec<_> = diff(&pair[0], &pair[1], &offer).collect();
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
        let messages: Vec<_> = full(&many, &Arc::default()).collect();
        assert_well_formed(&messages);
        assert!(messages.len() >= 7 && messages[0].full && !messages[1].full);
        let gone: Vec<_> = diff(&many, &Roster::default(), &Arc::default()).collect();
        assert_well_formed(&gone);
        let bytes: usize = many.all().map(|listed| listed.id().len()).sum();
        assert_eq!(gone.len(), bytes.div_ceil(CHUNK_BYTES));
    }

    #[test]
    fn an_empty_roster_is_said_too_and_so_is_a_change_of_problems_alone() {
        let none = Roster::default();
        assert_well_formed(&full(&none, &Arc::default()).collect::<Vec<_>>());
        let blind =
            Roster { problems: [("ProcessPlatform", "no /proc".to_owned())].into(), ..Roster::default() };
        let messages: Vec<_> = diff(&none, &blind, &Arc::default()).collect();
        assert_well_formed(&messages);
        assert_eq!(messages[0].problems[0].message, "no /proc");
        assert!(!messages[0].problems[0].blind);
        let starting = Roster { blind: ["ProcessPlatform"].into(), ..Roster::default() };
        let messages: Vec<_> = diff(&none, &starting, &Arc::default()).collect();
        assert!(messages[0].problems[0].blind && !messages[0].problems[0].message.is_empty());
        assert_eq!(diff(&starting, &none, &Arc::default()).count(), 1);
    }
}
