//! Views of one message each: the control plane's state, an action with its evidence, an event.

use std::time::SystemTime;

use chaos_kitty::v1::{
    ActionStatus, Event, Status, action_state::Name as State, admin_state::Name as Admin, event::level,
    evidence::Phase,
};

use super::{
    Cell, Tone, View, describe, figures,
    rows::{end_of, tone_of},
    table::{align, render as table},
    text::{ago, asked, coarse, printable, seconds_since, time},
};

impl View for Status {
    fn view(&self, now: SystemTime) -> String {
        render(self, now)
    }

    fn name(&self) -> String {
        self.server_id.clone()
    }
}

impl View for ActionStatus {
    fn view(&self, _now: SystemTime) -> String {
        render_action(self)
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// A line of a view: what it is, and its value.
pub(super) fn field(name: &str, value: impl Into<Cell>) -> Vec<Cell> {
    vec![Cell::new(name, Tone::Dim), value.into()]
}

/// What the control plane is and does at this moment.
fn render(status: &Status, now: SystemTime) -> String {
    let state = if status.halted {
        let since = ago(status.halted_at.as_ref(), now);
        Cell::new(format!("HALTED {since}: nothing is admitted until `kittyctl resume`"), Tone::Bad)
    } else {
        Cell::new("RUNNING", Tone::Good)
    };
    let up = coarse(seconds_since(status.started_at.as_ref(), now));
    let lease = status.lease.as_ref().map(asked).unwrap_or_default();
    let losses: Vec<String> = status.losses.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let mut fields = vec![
        field("state", state),
        field("admin", admin_cell(status.admin_state())),
        field("server", format!("kittyd {}, up {up}, lease {lease}, epoch {}", status.version, status.epoch)),
        field("listening", status.listening.join(", ")),
        field(
            "fleet",
            format!("{} agents, {} workers, {} targets", status.agents, status.workers, status.targets),
        ),
    ];
    fields.extend(status.operations.iter().map(|operation| {
        let figures = format!(
            "{} ({}): {} targets, {} rounds, {} hits, {} errors",
            operation.name,
            operation.kind,
            operation.targets,
            operation.rounds,
            operation.hits,
            operation.errors
        );
        field("operation", figures)
    }));
    fields.push(field("experiments", experiments(status.experiments)));
    if !losses.is_empty() {
        fields.push(field("losses", losses.join(", ")));
    }
    if !status.store_problem.is_empty() {
        fields.push(field("store", Cell::new(&status.store_problem, Tone::Bad)));
    }
    fields.extend(status.set_aside.iter().map(|record| {
        let told = format!("{} {}: {}; see `kittyd check`", record.kind, record.key, record.reason);
        field("set aside", Cell::new(told, Tone::Bad))
    }));
    let mut active = status.active.clone();
    active.sort_by_key(|action| urgency(action.state()));
    // A server of the version before shows all of them.
    let total = active.len().max(usize::try_from(status.active_total).unwrap_or(usize::MAX));
    fields.push(field("faults", faults(&active, total)));
    for action in active.iter().filter(|action| action.state() == State::Stuck) {
        if let Some(problem) = &action.problem {
            fields.push(field("stuck", Cell::new(format!("{}: {}", action.id, problem.message), Tone::Bad)));
            fields.push(field("", &problem.hint));
        }
    }
    let mut text = align(&fields);
    if !active.is_empty() {
        text.push('\n');
        text.push_str(&table(&active, now));
    }
    text
}

/// An administrative state; any but STARTED holds something back.
pub(super) fn admin_cell(state: Admin) -> Cell {
    let tone = match state {
        Admin::Started => Tone::Good,
        Admin::Starting | Admin::Drain | Admin::Paused => Tone::Busy,
        Admin::Abort => Tone::Bad,
    };
    Cell::new(state.as_str_name(), tone)
}

fn experiments(count: u32) -> Cell {
    match count {
        0 => "none".into(),
        1 => "1 is not over".into(),
        count => format!("{count} are not over").into(),
    }
}

/// What needs a person comes first, then what nothing is known of.
fn urgency(state: State) -> u8 {
    match state {
        State::Stuck => 0,
        State::Unknown => 1,
        _ => 2,
    }
}

/// How many there are, and how many of them are trouble.
fn faults(active: &[ActionStatus], total: usize) -> Cell {
    if active.is_empty() {
        return "none".into();
    }
    let count = |state| active.iter().filter(|action| action.state() == state).count();
    let listed = match total - active.len() {
        0 => String::new(),
        _ => format!(", {} of them here; `kittyctl action list --active` lists all", active.len()),
    };
    let trouble: Vec<_> = [("STUCK", count(State::Stuck)), ("UNKNOWN", count(State::Unknown))]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    if trouble.is_empty() {
        return format!("{total}{listed}").into();
    }
    Cell::new(format!("{total}: {}{listed}", trouble.join(", ")), Tone::Bad)
}

/// An action with all that is known of it.
fn render_action(action: &ActionStatus) -> String {
    let state = Cell::new(action.state().as_str_name(), tone_of(action.state()));
    let mut fields = vec![
        field("id", &action.id),
        field("target", &action.target_id),
        field("action", describe(action.action.as_ref())),
        field("state", state),
        field("source", &action.source),
        field("created", time(action.created_at.as_ref())),
        field("started", time(action.started_at.as_ref())),
        field("ended", time(action.ended_at.as_ref())),
        field("end", end_of(action)),
        field("figures", figures(action.result.as_ref())),
    ];
    if let Some(problem) = &action.problem {
        fields.push(field("problem", Cell::new(format!("{}: {}", problem.code, problem.message), Tone::Bad)));
        fields.push(field("hint", &problem.hint));
    }
    for evidence in &action.evidence {
        let phase = match evidence.phase() {
            Phase::Unspecified => "seen",
            Phase::Before => "before",
            Phase::During => "during",
            Phase::After => "after",
        };
        fields.push(field(phase, format!("{}: {}", evidence.what, evidence.value)));
    }
    align(&fields)
}

/// One line.
pub(super) fn render_event(event: &Event) -> String {
    let style = match event.level() {
        level::Name::Unspecified => Tone::Plain,
        level::Name::Good => Tone::Good,
        level::Name::Warn => Tone::Busy,
        level::Name::Error => Tone::Bad,
    }
    .style();
    format!("{}  {style}{}{style:#}\n", time(event.at.as_ref()), printable(&event.message))
}
