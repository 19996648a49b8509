use std::collections::{BTreeMap, BTreeSet};

use prost::encoding::{WireType, encode_key, encode_varint};

use super::{
    schema::{Kind, MESSAGES},
    table::TABLE,
    *,
};
use crate::{
    Timestamp,
    v1::{
        self, ActionReport, ActionReports, AgentMessage, Evidence, ExperimentSuite, Hello, MethodParameters,
        Target, TargetsChanged, agent_message::Kind as Up,
    },
};

/// What the compiler makes of a map's field.
fn is_map_entry(name: &str) -> bool {
    name.ends_with("Entry") && name.trim_start_matches("chaoskitty.v1.").contains('.')
}

/// The row that a field needs, as the table writes it without its numbers.
fn wanted(field: &schema::Field) -> Option<&'static str> {
    Some(match (field.kind, field.many) {
        (Kind::Text, false) => "Text",
        (Kind::Text, true) => "Texts",
        (Kind::Span, false) => "Span",
        (Kind::Moment, false) => "Moment",
        (Kind::Moment, true) => "Moments",
        (Kind::Message(at), true) if is_map_entry(MESSAGES[at].name) => "Map",
        (_, true) => "Many",
        (_, false) => return None,
    })
}

#[test]
fn every_text_list_map_span_and_moment_has_a_row_and_no_row_is_of_something_else() {
    let mut rows: BTreeMap<_, _> = TABLE.iter().copied().collect();
    assert_eq!(rows.len(), TABLE.len(), "no field has two rows");
    for message in MESSAGES.iter().filter(|message| !is_map_entry(message.name)) {
        for field in message.fields {
            let name = format!("{}.{}", message.name.trim_start_matches("chaoskitty.v1."), field.name);
            let row = rows.remove(name.as_str()).map(|bound| format!("{bound:?}"));
            let row = row.as_deref().map(|row| row.split('(').next().unwrap_or_default());
            assert_eq!(row, wanted(field), "{name}: add its row to proto/bounds/table.rs");
        }
    }
    assert_eq!(rows.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "rows of fields that there are not");
}

#[test]
fn the_schema_is_that_of_the_contract_and_has_no_message_within_itself() {
    assert!(MESSAGES.is_sorted_by_key(|message| message.name));
    for message in MESSAGES {
        assert!(message.fields.len() <= scan::FIELDS, "{}", message.name);
        assert!(message.fields.is_sorted_by_key(|field| field.number));
    }
    fn inside(at: usize, above: &mut Vec<usize>) {
        assert!(!above.contains(&at), "{} is within itself: a walk needs a limit", MESSAGES[at].name);
        above.push(at);
        for field in MESSAGES[at].fields {
            if let Kind::Message(inner) = field.kind {
                inside(inner, above);
            }
        }
        above.pop();
    }
    (0..MESSAGES.len()).for_each(|at| inside(at, &mut Vec::new()));
    let requests: BTreeSet<_> =
        MESSAGES.iter().filter(|message| message.is_request).map(|message| message.name).collect();
    assert!(requests.contains("chaoskitty.v1.UnleashRequest") && !requests.contains("chaoskitty.v1.Target"));
}

/// One field with these bytes, as often as wanted.
fn repeated(field: u32, bytes: &[u8], times: usize) -> Vec<u8> {
    let mut one = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut one);
    encode_varint(bytes.len() as u64, &mut one);
    one.extend_from_slice(bytes);
    one.repeat(times)
}

fn too_large<M: prost::Name>(bytes: &[u8]) {
    let refused = scan::<M>(bytes).expect_err("more than it may take");
    assert_eq!(refused.code, Code::TooLarge, "{refused}");
}

#[test]
fn what_costs_more_than_it_weighs_is_refused_before_it_is_decoded() {
    // Empty targets, reports, problems in messages of 4 MiB.
    let inside = |kind, field| repeated(kind, &repeated(field, &[], 2 << 20), 1);
    for (kind, field) in [(3, 2), (4, 1), (2, 7), (2, 20), (3, 5)] {
        too_large::<AgentMessage>(&inside(kind, field));
    }
    // Empty texts, and numbers of one byte each.
    too_large::<AgentMessage>(&inside(3, 3));
    too_large::<AgentMessage>(&repeated(2, &repeated(13, &vec![1; 4 << 20], 1), 1));
    too_large::<v1::ServerMessage>(&repeated(2, &repeated(6, &[], 2 << 20), 1));
    // Criteria, probes and parameters of suites, in a request of less than 1 MiB.
    for field in [2, 7, 8, 6] {
        assert!(scan::<ExperimentSuite>(&repeated(field, &[], limits::SUB_MESSAGES + 1)).is_err());
    }
    too_large::<v1::GetActionRequest>(&repeated(1, &[b'x'; 2 << 20], 1));
}

#[test]
fn an_agent_that_was_away_for_long_may_still_present_all_that_it_holds() {
    let evidence = vec![Evidence { what: "process state".into(), value: "T".into(), phase: 1 }; 3];
    let report =
        ActionReport { action_id: "0".repeat(36), evidence, at: Some(Timestamp::now()), ..report(7) };
    let bytes = Up::Hello(Hello { held: vec![report; crate::outbox::CAPACITY], ..Hello::default() });
    let message = AgentMessage { kind: Some(bytes), ..AgentMessage::default() };
    assert!(message.encoded_len() < limits::MESSAGE_BYTES);
    assert_eq!(scan::<AgentMessage>(&message.encode_to_vec()), Ok(()));
    assert_eq!(check(&message), Ok(()));
}

#[test]
fn what_is_no_message_is_refused_as_that() {
    for bytes in [&[0xff_u8; 20][..], &[0x0b], &[0x0a, 0x05, b'a'], &[0x08]] {
        let refused = scan::<v1::GetActionRequest>(bytes).expect_err("no message");
        assert_eq!(refused.code, Code::ProtocolViolation, "{bytes:?}");
    }
    // What a later version added is not looked at.
    assert_eq!(scan::<v1::GetActionRequest>(&repeated(99, b"whatever", 3)), Ok(()));
}

#[test]
fn a_field_over_its_bound_is_named_by_its_path() {
    let span = |seconds, nanos| Some(pbjson_types::Duration { seconds, nanos });
    let parameters = MethodParameters { self_healing_interval: span(i64::MAX, 0), ..Default::default() };
    let suite = ExperimentSuite {
        method_parameters: BTreeMap::from([("delay".to_owned(), parameters)]),
        ..Default::default()
    };
    let refused = check(&suite).unwrap_err();
    assert_eq!(refused.code, Code::DurationTooLong);
    assert!(refused.message.starts_with("method_parameters[0].value.self_healing_interval:"), "{refused}");
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MIN, i32::MIN)] {
        let suite = ExperimentSuite { duration: span(seconds, nanos), ..Default::default() };
        assert_eq!(check(&suite).unwrap_err().code, Code::InvalidArgument, "{seconds} {nanos}");
    }
    for seconds in [i64::MIN, -1, 253_402_300_800, i64::MAX] {
        let at = Some(Timestamp { seconds, nanos: 0 });
        assert_eq!(check(&v1::GetSuiteRecordRequest { at }).unwrap_err().code, Code::InvalidArgument);
    }
    let long = v1::HaltRequest { reason: "x".repeat(1025), ..Default::default() };
    assert!(check(&long).unwrap_err().message.contains("reason: it is longer than 1024 bytes"));
    let criteria = vec![v1::ExperimentCriteria::default(); 10_001];
    let suite = ExperimentSuite { experiment_criteria: criteria, ..Default::default() };
    assert!(check(&suite).unwrap_err().message.contains("more than 10000 entries"));
}

#[test]
fn the_longest_of_everything_is_accepted() {
    let labels = (0..64).map(|n| (format!("{n:0506}"), "v".repeat(506))).collect();
    let target = Target { id: "i".repeat(506), pids: vec![u32::MAX; 16_384], labels, ..Target::default() };
    assert_eq!(check(&target), Ok(()));
    assert!(check(&Target { id: "i".repeat(507), ..target.clone() }).is_err());
    let labels = BTreeMap::from([("k".repeat(507), String::new())]);
    assert!(check(&Target { labels, ..target }).is_err());
}

fn report(sequence: u64) -> ActionReport {
    ActionReport { action_id: "a".into(), sequence, state: 4, ..ActionReport::default() }
}

#[test]
fn an_entry_over_its_bounds_is_left_out_and_the_others_stay() {
    let target = |id: &str| Target { id: id.to_owned(), ..Target::default() };
    let problem = |message: String| v1::PlatformProblem { message, ..Default::default() };
    let mut message = AgentMessage {
        kind: Some(Up::Targets(TargetsChanged {
            upserted: vec![target("one"), target(&"x".repeat(5000)), target("two")],
            problems: vec![problem("p".repeat(5000)), problem("blind".to_owned())],
            ..TargetsChanged::default()
        })),
        ..AgentMessage::default()
    };
    let left_out = sift(&mut message);
    assert_eq!(left_out.count, 2);
    assert!(left_out.first.unwrap().message.starts_with("id:"));
    let Some(Up::Targets(rest)) = &message.kind else { panic!("another message") };
    assert_eq!(rest.upserted.iter().map(|target| target.id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((rest.problems.len(), rest.problems[0].message.as_str()), (1, "blind"));
    assert_eq!(check(&message), Ok(()));
}

#[test]
fn what_became_of_an_action_is_not_lost_with_what_was_said_of_it() {
    let long = Evidence { value: "v".repeat(4 << 20), ..Evidence::default() };
    let fine = Evidence { value: "T".into(), ..Evidence::default() };
    let endless = Some(pbjson_types::Duration { seconds: i64::MAX, nanos: 0 });
    let reports = vec![
        ActionReport { evidence: vec![long, fine.clone()], ..report(1) },
        ActionReport { at: Some(Timestamp { seconds: -1, nanos: 0 }), remaining: endless, ..report(2) },
        ActionReport { action_id: "x".repeat(5000), ..report(3) },
        ActionReport { evidence: vec![fine.clone(); 10_000], ..report(4) },
    ];
    let kind = Some(Up::Reports(ActionReports { reports }));
    let mut message = AgentMessage { kind, ..AgentMessage::default() };
    assert_eq!(sift(&mut message).count, 4);
    let Some(Up::Reports(ActionReports { reports })) = &message.kind else { panic!("another message") };
    let kept: Vec<_> = reports.iter().map(|report| (report.sequence, report.state)).collect();
    assert_eq!(kept, [(1, 4), (2, 4), (4, 4)]);
    assert_eq!(reports[0].evidence, [fine]);
    assert!(reports[1].at.unwrap().is_sane() && reports[1].remaining.is_none());
    assert_eq!(check(&message), Ok(()));
}

#[test]
fn a_log_line_quotes_the_beginning_of_a_text() {
    assert_eq!(brief("short"), "short");
    assert_eq!(brief(&"é".repeat(1000)).chars().count(), 200);
}
