//! What is kept of a node's report: nothing in it can be too large, or out of range, for those who are shown it. Pure.

use std::time::{Duration, SystemTime};

use chaos_kitty::{
    Timestamp,
    page::{self, cut},
    v1::{self, ActionReport, action_result::Kind},
};

use super::validate;

/// How far a node's clock may be from ours; beyond it, ours holds.
const CLOCK: Duration = Duration::from_secs(24 * 3600);
/// Longest time that may remain.
const REMAINING: Duration = Duration::from_secs(366 * 24 * 3600);
/// Most bytes of the figures of an action.
const RESULT: usize = 16 << 10;
/// Most processes, or missing programs, that are named in them.
const NAMED: usize = 1000;

/// Makes a report sound. Gives how many parts of it were changed or left out.
pub(super) fn sound(report: &mut ActionReport, now: SystemTime) -> u64 {
    let mut changed = page::shorten(&mut report.evidence);
    let mut note = |is: bool| changed += u64::from(is);
    if let Some(at) = report.at {
        let at = Some(on_our_clock(at, now));
        note(at != report.at);
        report.at = at;
    }
    if let Some(remaining) = report.remaining {
        let sound = Duration::try_from(remaining).ok().map(|remaining| remaining.min(REMAINING).into());
        note(sound != report.remaining);
        report.remaining = sound;
    }
    let reason = report.end_reason().into();
    note(reason != report.end_reason);
    report.end_reason = reason;
    if let Some(problem) = &mut report.problem {
        let sound = v1::Problem {
            code: problem.code,
            status: cut(&problem.status),
            message: cut(&problem.message),
            hint: cut(&problem.hint),
        };
        note(sound != *problem);
        *problem = sound;
    }
    if let Some(result) = &mut report.result {
        note(shorten(result));
    }
    if report.result.as_ref().is_some_and(|result| page::unfit(result, RESULT).is_some()) {
        report.result = None;
        note(true);
    }
    // Of an action that this server does not know, what it would have ordered itself.
    if report.action.is_some() {
        let action = validate::known(report.action.take());
        note(action.is_none());
        report.action = action;
    }
    note(report.target_id.len() > cut(&report.target_id).len());
    report.target_id = cut(&report.target_id);
    changed
}

fn on_our_clock(at: Timestamp, now: SystemTime) -> Timestamp {
    let (first, last) = (now.checked_sub(CLOCK), now.checked_add(CLOCK));
    let in_range =
        |time: &SystemTime| first.is_none_or(|first| first <= *time) && last.is_none_or(|last| *time <= last);
    let sound = (0..1_000_000_000).contains(&at.nanos);
    match at.system_time().filter(|time| sound && in_range(time)) {
        Some(_) => at,
        None if at.seconds < Timestamp::from(now).seconds => first.map_or(at, Timestamp::from),
        None => last.map_or(at, Timestamp::from),
    }
}

/// Lists that may be long where nothing is wrong.
fn shorten(result: &mut v1::ActionResult) -> bool {
    match &mut result.kind {
        Some(Kind::Kill(kill)) if kill.pids.len() > NAMED => kill.pids.truncate(NAMED),
        Some(Kind::Script(script)) if script.missing.len() > NAMED => script.missing.truncate(NAMED),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{
        ActionResult, ActionStatus, DelayResult, Evidence, KillResult, action_state::Name as State,
    };
    use pbjson_types::Duration as Wire;
    use prost::Message;

    use super::{super::record::fold, *};

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn at(seconds: i64, nanos: i32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos })
    }

    /// What becomes of an action by a report that was made sound.
    fn after(mut report: ActionReport) -> (ActionStatus, u64) {
        let changed = sound(&mut report, now());
        let mut status = ActionStatus { state: State::Accepted.into(), ..ActionStatus::default() };
        assert!(fold(&mut status, &report));
        serde_json::to_string(&status).unwrap();
        assert!(status.encoded_len() < page::ENTRY_BYTES);
        (status, changed)
    }

    fn started() -> ActionReport {
        ActionReport { state: State::Started.into(), at: at(1_700_000_000, 0), ..ActionReport::default() }
    }

    #[test]
    fn a_clock_that_is_a_day_or_more_off_is_taken_back_to_ours() {
        for (given, kept) in [
            (at(1_700_000_100, 7), at(1_700_000_100, 7)),
            (at(-1, 0), at(1_700_000_000 - 86400, 0)),
            (at(i64::MIN, i32::MIN), at(1_700_000_000 - 86400, 0)),
            (at(i64::MAX, i32::MAX), at(1_700_000_000 + 86400, 0)),
            (at(253_402_300_800, 0), at(1_700_000_000 + 86400, 0)),
            (at(1_700_000_000, -1), at(1_700_000_000 + 86400, 0)),
        ] {
            let (status, changed) = after(ActionReport { at: given, ..started() });
            assert_eq!((status.started_at, changed), (kept, u64::from(given != kept)));
        }
    }

    #[test]
    fn a_report_with_an_extreme_in_any_part_leaves_an_action_that_can_be_shown() {
        let wire = |seconds, nanos| Some(Wire { seconds, nanos });
        let huge = || "x".repeat(4 << 20);
        let result = |kind| Some(ActionResult { kind: Some(kind) });
        for report in [
            ActionReport { remaining: wire(i64::MAX, 0), ..started() },
            ActionReport { remaining: wire(1, -1), ..started() },
            ActionReport { end_reason: 99, ..started() },
            ActionReport { evidence: vec![Evidence { value: huge(), ..Default::default() }; 2], ..started() },
            ActionReport { evidence: vec![Evidence { phase: 99, ..Default::default() }], ..started() },
            ActionReport {
                problem: Some(v1::Problem { message: huge(), hint: huge(), ..Default::default() }),
                ..started()
            },
            ActionReport {
                result: result(Kind::Delay(DelayResult { held: wire(1, -1), ..Default::default() })),
                ..started()
            },
            ActionReport {
                result: result(Kind::Delay(DelayResult { means: huge(), ..Default::default() })),
                ..started()
            },
        ] {
            assert!(after(report).1 > 0);
        }
        let tree = KillResult { pids: (0..20_000).collect(), ..KillResult::default() };
        let (status, _) = after(ActionReport { result: result(Kind::Kill(tree)), ..started() });
        assert!(status.result.is_some(), "a large tree is still told");
        assert_eq!(after(started()).1, 0);
    }
}
