//! The contract's messages as lines of tables.

use std::time::SystemTime;

use chaos_kitty::v1::{
    ActionStatus, Agent, OperationStatus, Platform, Target, action_kind, action_state::Name as State,
    agent_role, end_reason, operation::Kind, platform::health::State as Seen, target_health::State as Health,
};

use super::{
    Cell, Row, Tone, describe, figures,
    text::{ago, asked, until},
};

impl Row for Agent {
    const PLURAL: &'static str = "agents or workers";
    const HEAD: &'static [&'static str] =
        &["ID", "ROLE", "HOST", "PID", "VERSION", "TARGETS", "ACTIVE", "SEEN", "VIA"];

    fn cells(&self, now: SystemTime) -> Vec<Cell> {
        let role = match self.role() {
            agent_role::Name::Unspecified => String::new(),
            role => role.as_str_name().to_lowercase(),
        };
        let seen = if self.connected {
            ago(self.last_seen.as_ref(), now).into()
        } else {
            Cell::new(format!("lost, {}", ago(self.last_seen.as_ref(), now)), Tone::Bad)
        };
        let pid = if self.pid == 0 { String::new() } else { self.pid.to_string() };
        let counts = [self.targets.into(), self.active.into()];
        let head = [&self.id, &role, &self.host, &pid, &self.version].map(Cell::from);
        head.into_iter().chain(counts).chain([seen, self.path.join(" → ").into()]).collect()
    }

    fn key(&self) -> &str {
        &self.id
    }
}

impl Row for Target {
    const PLURAL: &'static str = "targets";
    const HEAD: &'static [&'static str] = &["ID", "NAME", "GROUP", "HEALTH", "HERD", "ACTIONS", "NOT NOW"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        let tone = match self.health() {
            Health::Normal => Tone::Good,
            Health::RunningExperiment => Tone::Busy,
            Health::DoesNotExist => Tone::Bad,
            Health::Unknown => Tone::Dim,
        };
        let actions: Vec<String> = self.actions().map(action_kind::Name::word).collect();
        vec![
            Cell::from(&self.id),
            Cell::from(&self.name),
            Cell::from(&self.aggregation_identifier),
            Cell::new(self.health().as_str_name(), tone),
            if self.cattle { "cattle" } else { "pet" }.into(),
            actions.join(" ").into(),
            self.standing.as_ref().map(|standing| standing.reason.clone()).unwrap_or_default().into(),
        ]
    }

    fn key(&self) -> &str {
        &self.id
    }
}

impl Row for Platform {
    const PLURAL: &'static str = "platforms";
    const HEAD: &'static [&'static str] = &["PLATFORM", "HEALTH", "TARGETS", "AGENTS", "GROUPS", "PROBLEMS"];

    fn cells(&self, _now: SystemTime) -> Vec<Cell> {
        let tone = match self.health() {
            Seen::Ok => Tone::Good,
            Seen::Degraded => Tone::Busy,
            Seen::Failed => Tone::Bad,
            Seen::Unknown => Tone::Dim,
        };
        vec![
            Cell::from(&self.platform_type),
            Cell::new(self.health().as_str_name(), tone),
            self.targets.into(),
            self.agents.into(),
            self.groups.join(" ").into(),
            self.problems.join("; ").into(),
        ]
    }

    fn key(&self) -> &str {
        &self.platform_type
    }
}

/// The colour of a state.
pub(super) fn tone_of(state: State) -> Tone {
    match state {
        State::Unspecified => Tone::Dim,
        State::Admitted | State::Accepted | State::Started => Tone::Busy,
        State::Reverted | State::Done => Tone::Good,
        State::Failed | State::Refused | State::Unknown | State::Stuck => Tone::Bad,
    }
}

/// Why it ended, in small letters; nothing while it has not.
pub(super) fn end_of(action: &ActionStatus) -> String {
    match action.end_reason() {
        end_reason::Name::Unspecified => String::new(),
        reason => reason.as_str_name().to_lowercase().replace('_', " "),
    }
}

/// The target by the shortest name there is.
pub(super) fn target_of(action: &ActionStatus) -> &str {
    if action.target_name.is_empty() { &action.target_id } else { &action.target_name }
}

impl Row for ActionStatus {
    const PLURAL: &'static str = "actions";
    const HEAD: &'static [&'static str] = &["ID", "TARGET", "ACTION", "STATE", "END", "BEGAN", "FIGURES"];

    fn cells(&self, now: SystemTime) -> Vec<Cell> {
        let last = match &self.problem {
            // A person has to do something, and the hint says what.
            Some(problem) if self.state() == State::Stuck => {
                format!("{}: {} ({})", problem.code, problem.message, problem.hint)
            }
            Some(problem) => format!("{}: {}", problem.code, problem.message),
            None => figures(self.result.as_ref()),
        };
        vec![
            Cell::from(&self.id),
            Cell::from(target_of(self)),
            describe(self.action.as_ref()).into(),
            Cell::new(self.state().as_str_name(), tone_of(self.state())),
            end_of(self).into(),
            ago(self.started_at.as_ref().or(self.created_at.as_ref()), now).into(),
            last.into(),
        ]
    }

    fn key(&self) -> &str {
        &self.id
    }
}

impl Row for OperationStatus {
    const PLURAL: &'static str = "operations";
    const HEAD: &'static [&'static str] = &[
        "NAME",
        "KIND",
        "INTERVAL",
        "PROBABILITY",
        "PARAMETERS",
        "TARGETS",
        "ROUNDS",
        "HITS",
        "ERRORS",
        "NEXT",
        "LAST ERROR",
    ];

    fn cells(&self, now: SystemTime) -> Vec<Cell> {
        let operation = self.operation.clone().unwrap_or_default();
        let probability = operation.probability.map(|p| p.to_string()).unwrap_or_default();
        let error = self.problem.as_ref().map_or(&self.last_error, |problem| &problem.message);
        vec![
            Cell::from(&operation.name),
            Cell::from(&self.kind),
            operation.interval.as_ref().map(asked).unwrap_or_default().into(),
            probability.into(),
            operation.kind.as_ref().map(parameters).unwrap_or_default().into(),
            self.targets.into(),
            self.rounds.into(),
            self.hits.into(),
            Cell::new(self.errors.to_string(), if self.errors == 0 { Tone::Plain } else { Tone::Bad }),
            until(self.next_round_at.as_ref(), now).into(),
            error.into(),
        ]
    }

    fn key(&self) -> &str {
        self.operation.as_ref().map(|operation| operation.name.as_str()).unwrap_or_default()
    }
}

/// What the kitty does each time.
fn parameters(kind: &Kind) -> String {
    let range = |from: &Option<_>, to: &Option<_>| match (from, to) {
        (Some(from), Some(to)) => format!("{} to {}", asked(from), asked(to)),
        _ => String::new(),
    };
    match kind {
        Kind::Hairball(hairball) => range(&hairball.min_delay, &hairball.max_delay),
        Kind::Scratch(scratch) => scratch.signal.clone(),
        Kind::Floop(floop) => format!("{} to {} MB", floop.min_size_mb, floop.max_size_mb),
        Kind::Zoomies(zoomies) => range(&zoomies.min_duration, &zoomies.max_duration),
        Kind::Yowl(yowl) => format!("{} messages", yowl.messages.len()),
        Kind::Groom(_) => String::new(),
    }
}
