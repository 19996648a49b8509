//! `kittyctl action …`

use std::process::ExitCode;

use chaos_kitty::{
    Problem,
    v1::{
        ActionStatus, GetActionRequest, ListActionsRequest, ListActionsResponse, StopActionRequest,
        action_state::Name as State,
    },
};

use crate::{
    args::{ActionCommand, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

/// Most actions asked for at a time; the rest follows page by page.
const PAGE: usize = 500;

pub(super) async fn run(command: ActionCommand, global: &Global, out: &Output) -> Outcome {
    let session = Session::open(global).await?;
    let mut client = session.client.clone();
    match command {
        ActionCommand::List { active, target, limit } => {
            let request = ListActionsRequest {
                active_only: active,
                target_id: target.unwrap_or_default(),
                ..Default::default()
            };
            let response = newest(&session, request, limit as usize).await?;
            out.list(&response, &response.actions)?;
            Ok(ExitCode::SUCCESS)
        }
        ActionCommand::Get { id } => {
            let action = session.answer(client.get_action(GetActionRequest { id })).await?;
            out.action(&action)?;
            Ok(ExitCode::SUCCESS)
        }
        ActionCommand::Stop { id } => {
            let action = session.answer(client.stop_action(StopActionRequest { id })).await?;
            out.one(&action)?;
            tell_problem(&action, out);
            Ok(if is_over(&action) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The newest actions up to a limit, as one answer.
async fn newest(
    session: &Session,
    mut request: ListActionsRequest,
    limit: usize,
) -> Result<ListActionsResponse, Problem> {
    let mut whole = ListActionsResponse::default();
    loop {
        let wanted = (limit - whole.actions.len()).min(PAGE);
        request.page_size = u32::try_from(wanted).unwrap_or(u32::MAX);
        let page = session.answer(session.client.clone().list_actions(request.clone())).await?;
        whole.actions.extend(page.actions);
        whole.actions.truncate(limit);
        whole.next_page_token.clone_from(&page.next_page_token);
        if page.next_page_token.is_empty() || whole.actions.len() == limit {
            return Ok(whole);
        }
        request.page_token = page.next_page_token;
    }
}

/// Whether nothing of it is in force any more.
fn is_over(action: &ActionStatus) -> bool {
    matches!(action.state(), State::Reverted | State::Done | State::Failed | State::Refused)
}

/// Whether it did what was asked.
pub(super) fn ended_well(action: &ActionStatus) -> bool {
    matches!(action.state(), State::Reverted | State::Done)
}

/// Says why an action did not end well.
pub(super) fn tell_problem(action: &ActionStatus, out: &Output) {
    if let Some(problem) = &action.problem {
        out.problem(&problem.clone().into());
    }
}
