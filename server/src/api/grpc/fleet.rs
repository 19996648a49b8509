use chaos_kitty::{
    Problem, Timestamp,
    page::Page,
    telemetry,
    v1::{
        ListTargetsRequest, ListTargetsResponse, OperationStatus, OperationSummary, Selector, Status, Target,
        action_state::Name as ActionState, agent_role::Name as Role, target_health::State,
    },
};

use super::Service;
use crate::task;

/// Targets on a page at the most.
const TARGETS: u32 = 1000;

/// Actions in a status at the most.
const ACTIVE: u32 = 100;

pub(super) fn status(service: &Service) -> Status {
    let agents = service.fleet.agents();
    let count = |role: Role| {
        let attached = agents.iter().filter(|agent| agent.connected && agent.role() == role).count();
        u32::try_from(attached).unwrap_or(u32::MAX)
    };
    let mut losses = service.fleet.losses.all();
    let listening = service.listening.get();
    losses.extend(listening.into_iter().flat_map(|listening| listening.losses.all()));
    let counted = [
        ("records", service.store.lost()),
        ("notifications", service.notifier.lost()),
        ("log_lines", telemetry::lines_left_out()),
        ("panics", task::panics()),
    ];
    losses.extend(
        counted.into_iter().filter(|(_, lost)| *lost > 0).map(|(name, lost)| (name.to_owned(), lost)),
    );
    let mut active = service.actions.active();
    let active_total = u32::try_from(active.len()).unwrap_or(u32::MAX);
    // What needs a person is never among those that are left out.
    active.sort_by_key(|action| action.state() != ActionState::Stuck);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        server_id: service.store.server_id().to_owned(),
        epoch: service.fleet.epoch(),
        started_at: Some(Timestamp::from(service.started_at)),
        halted: service.gate.halted_at().is_some(),
        halted_at: service.gate.halted_at().map(Timestamp::from),
        lease: Some(service.fleet.settings().lease.into()),
        agents: count(Role::Agent),
        workers: count(Role::Worker),
        targets: u32::try_from(service.fleet.target_count()).unwrap_or(u32::MAX),
        operations: service.operations.list().into_iter().map(summary).collect(),
        active: service.page(Page::of(active, ACTIVE)).0,
        active_total,
        losses,
        store_problem: service.store.problem().unwrap_or_default(),
        listening: listening.map(|listening| listening.addresses.clone()).unwrap_or_default(),
        admin_state: service.admin.get().state,
        experiments: u32::try_from(service.experiments.count()).unwrap_or(u32::MAX),
        set_aside: service.store.all_set_aside(),
    }
}

fn summary(status: OperationStatus) -> OperationSummary {
    OperationSummary {
        name: status.operation.map(|operation| operation.name).unwrap_or_default(),
        kind: status.kind,
        targets: status.targets,
        rounds: status.rounds,
        hits: status.hits,
        errors: status.errors,
    }
}

pub(super) fn targets(
    service: &Service,
    request: ListTargetsRequest,
) -> Result<ListTargetsResponse, Problem> {
    let ListTargetsRequest { platform_type, aggregation_identifier, page_size, page_token } = request;
    let selector = Selector { platform_type, aggregation_identifier: String::new(), ..Selector::default() };
    let group = aggregation_identifier;
    let mut found = service.fleet.roster(&selector)?;
    // A list may show a group of several platforms; only a choice must know which one is meant.
    found.retain(|target| {
        (group.is_empty() || target.aggregation_identifier == group) && target.id > page_token
    });
    found.sort_by(|a, b| a.id.cmp(&b.id));
    // How each stands is looked up, so no more of them than may be shown; the one more says that there are more.
    let size = if page_size == 0 { TARGETS } else { page_size.min(TARGETS) };
    found.truncate(size as usize + 1);
    let standings = service.gate.standings(&found);
    let shown = |(target, standing): (&std::sync::Arc<Target>, _)| {
        let mut shown = Target::clone(target);
        shown.standing = standing;
        if service.gate.is_under_fault(&shown.id) && shown.health() == State::Normal {
            shown.health = State::RunningExperiment.into();
        }
        shown
    };
    let page = Page::of(found.iter().zip(standings).map(shown), size);
    let (targets, next_page_token) = service.page(page);
    Ok(ListTargetsResponse { targets, next_page_token })
}
