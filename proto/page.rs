//! Lists in answers: pages that are bounded by bytes as well as by count, and entries that cannot be shown. Pure.
//!
//! One entry never makes a list fail for the others: one that is too large, or that JSON cannot express, is shown as its
//! id with a problem.

use prost::Message;
use serde::Serialize;

use crate::{Code, Problem, Timestamp, v1};

/// Most bytes of a page.
pub const PAGE_BYTES: usize = 1 << 20;

/// Most bytes of an entry.
pub const ENTRY_BYTES: usize = 64 << 10;

/// Most bytes of a text that is kept of an entry that cannot be shown.
const TEXT: usize = 1024;

/// Longest argument of a script that is shown where all of them are too much, in bytes.
const ARGUMENT: usize = 256;

/// A message that lists are made of.
pub trait Entry: Message + Serialize + Sized {
    /// Most bytes of an entry of this kind.
    const MOST: usize = ENTRY_BYTES;

    /// Where it stands in its list. A page is asked for by the token of the last entry before it.
    fn token(&self) -> String;

    /// What is shown in its place: who it is, and the problem.
    fn instead(&self, problem: Problem) -> Self;
}

/// Some entries of a list.
#[derive(Debug)]
pub struct Page<E> {
    /// In their order.
    pub entries: Vec<E>,
    /// Token of the last one; empty: nothing follows.
    pub next: String,
    /// How many of them are not shown as they are.
    pub reduced: u64,
}

impl<E: Entry> Page<E> {
    /// The first entries of a list, as many as fit, and at most `size` of them unless that is 0.
    pub fn of(list: impl IntoIterator<Item = E>, size: u32) -> Self {
        let list = list.into_iter().map(Ok::<_, std::convert::Infallible>);
        Self::read(list, size).unwrap_or_else(|never| match never {})
    }

    /// The same of a list in order, from after a token on. Empty: from the beginning.
    pub fn after(token: &str, list: impl IntoIterator<Item = E>, size: u32) -> Self {
        Self::of(list.into_iter().filter(|entry| token.is_empty() || *entry.token() > *token), size)
    }

    /// The same of a list that is read, no further than needed.
    ///
    /// # Errors
    /// Those of reading.
    pub fn read<X>(list: impl IntoIterator<Item = Result<E, X>>, size: u32) -> Result<Self, X> {
        let most = if size == 0 { usize::MAX } else { usize::try_from(size).unwrap_or(usize::MAX) };
        let mut page = Self { entries: Vec::new(), next: String::new(), reduced: 0 };
        let (mut bytes, mut last) = (0, String::new());
        for entry in list {
            let entry = entry?;
            let token = entry.token();
            let (entry, is_whole) = shown(entry);
            bytes += entry.encoded_len();
            if page.entries.len() == most || (bytes > PAGE_BYTES && !page.entries.is_empty()) {
                page.next = last;
                break;
            }
            page.reduced += u64::from(!is_whole);
            page.entries.push(entry);
            last = token;
        }
        Ok(page)
    }
}

/// An entry as it can be shown, and whether that is all of it.
pub fn shown<E: Entry>(entry: E) -> (E, bool) {
    match unfit(&entry, E::MOST) {
        None => (entry, true),
        Some(problem) => (entry.instead(problem), false),
    }
}

/// Why a message cannot be shown, if that is so: it has more than so many bytes, or JSON cannot express it.
pub fn unfit(message: &(impl Message + Serialize), most: usize) -> Option<Problem> {
    let size = message.encoded_len();
    if size > most {
        let what = format!("it has {size} bytes, and at most {most} are shown");
        return Some(Problem::new(Code::TooLarge, what).hint("look where it comes from"));
    }
    let error = serde_json::to_writer(std::io::sink(), message).err()?;
    let what = cut(&format!("it cannot be shown in JSON: {error}"));
    Some(Problem::new(Code::MalformedJson, what).hint("look where it comes from"))
}

/// The beginning of a text that may be of any length: 1 KiB at the most.
pub fn cut(text: &str) -> String {
    cut_to(text, TEXT)
}

/// The beginning of a text, marked where it is cut; in all at most so many bytes.
pub fn cut_to(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub("…".len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// Most observations that are kept of one action, and their bytes in all.
const EVIDENCE: (usize, usize) = (64, 16 << 10);

/// Evidence as it is kept: each text at most 1 KiB, in all at most 64 observations and 16 KiB. Gives how many were cut
/// or dropped.
pub fn shorten(evidence: &mut Vec<v1::Evidence>) -> u64 {
    let (most, mut room) = EVIDENCE;
    let before = evidence.len();
    let mut changed = 0;
    evidence.truncate(most);
    evidence.retain_mut(|seen| {
        let shorter =
            v1::Evidence { phase: seen.phase().into(), what: cut(&seen.what), value: cut(&seen.value) };
        changed += u64::from(shorter != *seen);
        *seen = shorter;
        let size = seen.encoded_len();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    changed + (before - evidence.len()) as u64
}

fn cut_all(texts: &[String], mut room: usize) -> Vec<String> {
    let fits = |text: &&String| {
        room = room.saturating_sub(text.len() + 2);
        room > 0
    };
    texts.iter().take_while(fits).cloned().collect()
}

fn sound(at: Option<Timestamp>) -> Option<Timestamp> {
    at.filter(|at| serde_json::to_writer(std::io::sink(), at).is_ok())
}

/// The problem that was there before is said first.
fn joined(before: Option<&v1::Problem>, problem: Problem) -> Option<v1::Problem> {
    let Some(before) = before else { return Some(problem.into()) };
    let message = format!("{}; the rest is not shown: {}", cut(&before.message), problem.message);
    Some(v1::Problem { code: before.code, status: cut(&before.status), message, hint: cut(&before.hint) })
}

impl Entry for v1::ActionStatus {
    fn token(&self) -> String {
        self.id.clone()
    }

    /// All of it with shorter evidence and arguments, where that is enough.
    fn instead(&self, problem: Problem) -> Self {
        let mut shorter = self.clone();
        shorten(&mut shorter.evidence);
        if let Some(v1::Action { kind: Some(v1::action::Kind::Script(run)), .. }) = &mut shorter.action {
            run.arguments.iter_mut().for_each(|argument| *argument = cut_to(argument, ARGUMENT));
        }
        if unfit(&shorter, Self::MOST).is_none() {
            return shorter;
        }
        Self {
            id: cut(&self.id),
            target_id: cut(&self.target_id),
            target_name: cut(&self.target_name),
            agent_id: cut(&self.agent_id),
            aggregation_identifier: cut(&self.aggregation_identifier),
            platform_type: cut(&self.platform_type),
            state: self.state().into(),
            end_reason: self.end_reason().into(),
            problem: joined(self.problem.as_ref(), problem),
            source: cut(&self.source),
            created_at: sound(self.created_at),
            started_at: sound(self.started_at),
            ended_at: sound(self.ended_at),
            assumed: self.assumed,
            ..Self::default()
        }
    }
}

impl Entry for v1::Target {
    fn token(&self) -> String {
        self.id.clone()
    }

    fn instead(&self, problem: Problem) -> Self {
        Self {
            id: cut(&self.id),
            incarnation: cut(&self.incarnation),
            platform_type: cut(&self.platform_type),
            aggregation_identifier: cut(&self.aggregation_identifier),
            name: cut(&self.name),
            agent_id: cut(&self.agent_id),
            host: cut(&self.host),
            health: self.health().into(),
            problem: Some(problem.into()),
            ..Self::default()
        }
    }
}

impl Entry for v1::Agent {
    /// Ordered by connection.
    fn token(&self) -> String {
        format!("{:010}", self.connection_id)
    }

    fn instead(&self, problem: Problem) -> Self {
        Self {
            id: cut(&self.id),
            connection_id: self.connection_id,
            role: self.role().into(),
            host: cut(&self.host),
            pid: self.pid,
            targets: self.targets,
            active: self.active,
            connected: self.connected,
            problem: Some(problem.into()),
            ..Self::default()
        }
    }
}

impl Entry for v1::Platform {
    fn token(&self) -> String {
        self.platform_type.clone()
    }

    /// As many groups and problems as fit.
    fn instead(&self, problem: Problem) -> Self {
        let groups = cut_all(&self.groups, ENTRY_BYTES / 4);
        let mut problems = cut_all(&self.problems, ENTRY_BYTES / 4);
        let left_out = (self.groups.len() - groups.len(), self.problems.len() - problems.len());
        problems.push(format!(
            "{} groups and {} problems are not shown: {}",
            left_out.0, left_out.1, problem.message
        ));
        Self {
            platform_type: cut(&self.platform_type),
            health: self.health().into(),
            targets: self.targets,
            agents: self.agents,
            groups,
            problems,
        }
    }
}

impl Entry for v1::OperationStatus {
    fn token(&self) -> String {
        self.operation.as_ref().map(|operation| operation.name.clone()).unwrap_or_default()
    }

    fn instead(&self, problem: Problem) -> Self {
        let operation = v1::Operation { name: cut(&self.token()), ..v1::Operation::default() };
        Self {
            operation: Some(operation),
            kind: cut(&self.kind),
            targets: self.targets,
            rounds: self.rounds,
            hits: self.hits,
            errors: self.errors,
            skipped: self.skipped,
            problem: joined(self.problem.as_ref(), problem),
            ..Self::default()
        }
    }
}

impl Entry for v1::Experiment {
    fn token(&self) -> String {
        self.id.clone()
    }

    fn instead(&self, problem: Problem) -> Self {
        let unshown = || Problem::new(Code::TooLarge, "it is not shown");
        Self {
            id: cut(&self.id),
            experiment_state: self.experiment_state().into(),
            container: self.container.as_ref().map(|target| target.instead(unshown())),
            start_time: sound(self.start_time),
            experiment_method_name: cut(&self.experiment_method_name),
            experiment_layer_name: cut(&self.experiment_layer_name),
            was_self_healing_required: self.was_self_healing_required,
            suite: sound(self.suite),
            action_id: cut(&self.action_id),
            end_reason: self.end_reason().into(),
            problem: joined(self.problem.as_ref(), problem),
            ended_at: sound(self.ended_at),
            ..Self::default()
        }
    }
}

impl Entry for v1::HistoryEntry {
    /// It can be built again as it is, so it is as large as a request may be.
    const MOST: usize = PAGE_BYTES;

    /// Microseconds since 1970.
    fn token(&self) -> String {
        let at = self.at.unwrap_or_default();
        at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos) / 1000).to_string()
    }

    fn instead(&self, problem: Problem) -> Self {
        let verdict_reason = cut(&self.verdict_reason);
        let (at, verdict) = (sound(self.at), self.verdict().into());
        Self { at, suite: None, verdict, verdict_reason, problem: Some(problem.into()) }
    }
}

impl Entry for v1::ExperimentMethod {
    fn token(&self) -> String {
        self.name.clone()
    }

    fn instead(&self, problem: Problem) -> Self {
        Self { name: cut(&self.name), problem: Some(problem.into()), ..Self::default() }
    }
}

impl Entry for v1::Script {
    fn token(&self) -> String {
        self.name.clone()
    }

    fn instead(&self, problem: Problem) -> Self {
        let (name, hash) = (cut(&self.name), cut(&self.hash));
        Self { name, hash, problem: Some(problem.into()), ..Self::default() }
    }
}

impl Entry for v1::Event {
    /// What it is about may be as large as any message.
    const MOST: usize = PAGE_BYTES;

    fn token(&self) -> String {
        self.sequence.to_string()
    }

    fn instead(&self, problem: Problem) -> Self {
        let message = format!("{}; {}", cut(&self.message), problem.message);
        Self {
            sequence: self.sequence,
            at: sound(self.at),
            message,
            level: self.level().into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use v1::{ActionStatus, Evidence, Target};

    use super::*;

    fn status(id: u32, evidence: usize) -> ActionStatus {
        let seen = Evidence { value: "x".repeat(evidence), ..Evidence::default() };
        ActionStatus { id: format!("{id:04}"), evidence: vec![seen], ..ActionStatus::default() }
    }

    /// Every page, by their tokens.
    fn pages(list: &[ActionStatus], size: u32) -> Vec<Page<ActionStatus>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let page = Page::after(&token, list.iter().cloned(), size);
            token.clone_from(&page.next);
            pages.push(page);
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_are_bounded_by_count_and_by_bytes_and_lose_nothing() {
        let list: Vec<_> = (0..100).map(|id| status(id, 50_000)).collect();
        for (size, expected) in [(0, 5), (10, 10), (1000, 5)] {
            let pages = pages(&list, size);
            assert_eq!(pages.len(), expected, "{size}");
            let bytes =
                |page: &Page<ActionStatus>| page.entries.iter().map(Message::encoded_len).sum::<usize>();
            assert!(pages.iter().all(|page| bytes(page) <= PAGE_BYTES));
            assert_eq!(pages.into_iter().flat_map(|page| page.entries).collect::<Vec<_>>(), list);
        }
        assert_eq!(pages(&[], 0).len(), 1);
    }

    #[test]
    fn an_entry_that_is_too_large_is_shown_as_its_id_and_why() {
        let huge = ActionStatus { source: "x".repeat(4 << 20), ..status(1, 1) };
        let page = Page::of([huge, status(2, 1)], 0);
        assert_eq!(page.reduced, 1);
        assert_eq!((page.entries[0].id.as_str(), &page.entries[0].evidence[..]), ("0001", &[][..]));
        assert!(page.entries[0].problem.as_ref().unwrap().message.contains("bytes"));
        assert_eq!(page.entries[1], status(2, 1));
    }

    #[test]
    fn an_entry_that_json_cannot_express_is_shown_as_its_id_and_why() {
        let ancient = Some(Timestamp { seconds: -1, nanos: 0 });
        let unclear = [
            ActionStatus { started_at: ancient, ..status(1, 1) },
            ActionStatus { ended_at: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..status(2, 1) },
            ActionStatus { state: 99, ..status(3, 1) },
        ];
        for entry in Page::of(unclear, 0).entries {
            assert!(entry.problem.is_some(), "{entry:?}");
            serde_json::to_string(&entry).unwrap();
        }
        let target = Target { id: "t".to_owned(), actions: vec![99], health: -1, ..Target::default() };
        let (target, is_whole) = shown(target);
        assert!(!is_whole && target.id == "t");
        serde_json::to_string(&target).unwrap();
    }

    #[test]
    fn of_an_action_with_too_much_evidence_only_that_is_cut() {
        let seen = |phase| Evidence { phase, what: "state".to_owned(), value: "x".repeat(2 << 20) };
        let huge = ActionStatus { evidence: vec![seen(1), seen(99)], ..status(1, 1) };
        let (shown, is_whole) = shown(huge);
        assert!(!is_whole && shown.problem.is_none());
        let sizes: Vec<_> = shown.evidence.iter().map(|seen| (seen.phase, seen.value.len())).collect();
        assert_eq!(sizes, [(1, TEXT), (0, TEXT)]);
    }

    #[test]
    fn evidence_is_kept_within_its_bounds() {
        let seen = |bytes| Evidence { value: "x".repeat(bytes), ..Evidence::default() };
        let mut evidence = vec![seen(1000); 100];
        assert_eq!(shorten(&mut evidence), 84);
        assert_eq!(evidence.len(), 16);
        assert_eq!(shorten(&mut evidence), 0);
    }

    #[test]
    fn what_stands_in_for_an_entry_fits_whatever_the_entry_is() {
        let long = || "ß".repeat(100_000);
        let many = || vec![long(); 50];
        let why = || Problem::new(Code::TooLarge, "why");
        let problem = Some(v1::Problem { message: long(), hint: long(), status: long(), code: 1 });
        let platform = v1::Platform { groups: many(), problems: many(), ..Default::default() };
        assert!(platform.instead(why()).encoded_len() < ENTRY_BYTES);
        let platform = v1::Platform { groups: vec![String::from("g"); 100_000], ..Default::default() };
        let instead = platform.instead(why());
        assert!(instead.encoded_len() < ENTRY_BYTES && instead.groups.len() > 1000);
        let action =
            ActionStatus { id: long(), source: long(), problem: problem.clone(), ..Default::default() };
        assert!(action.instead(why()).encoded_len() < ENTRY_BYTES);
        let target = Target { id: long(), incarnation: long(), ..Default::default() };
        let experiment =
            v1::Experiment { container: Some(target), problem, id: long(), ..Default::default() };
        assert!(experiment.instead(why()).encoded_len() < ENTRY_BYTES);
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(cut_to("ääää", 8), "ääää");
        assert_eq!(cut_to("äääää", 8), "ää…");
    }
}
