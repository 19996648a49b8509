//! `kittyctl action …`

use std::process::ExitCode;

use chaos_kitty::{
    Problem,
    v1::{
        ActionStatus, GetActionRequest, ListActionsRequest, ListActionsResponse, StopActionRequest,
        action_state::Name as State,
    },
};

use super::pages;
use crate::{
    args::{ActionCommand, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

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
            out.view(&action)?;
            Ok(ExitCode::SUCCESS)
        }
        ActionCommand::Stop { id } => {
            let action = session.answer(client.stop_action(StopActionRequest { id })).await?;
            out.one(&action)?;
            tell_problem(&action, out);
            if is_stuck(&action) {
                tell_stuck(&action, out);
                return Ok(ExitCode::from(STUCK));
            }
            Ok(if is_over(&action) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The newest actions up to a limit, as one answer.
async fn newest(
    session: &Session,
    request: ListActionsRequest,
    limit: usize,
) -> Result<ListActionsResponse, Problem> {
    let (actions, next_page_token) = pages::first(limit, async |page_size, page_token| {
        let request = ListActionsRequest { page_size, page_token, ..request.clone() };
        let page = session.answer(session.client.clone().list_actions(request)).await?;
        Ok((page.actions, page.next_page_token))
    })
    .await?;
    Ok(ListActionsResponse { actions, next_page_token })
}

/// Whether nothing of it is in force any more.
fn is_over(action: &ActionStatus) -> bool {
    matches!(action.state(), State::Reverted | State::Done | State::Failed | State::Refused)
}

/// Exit code when a fault could not be put back and waits for a person.
pub(super) const STUCK: u8 = 6;

/// Whether it waits for a person.
pub(super) fn is_stuck(action: &ActionStatus) -> bool {
    action.state() == State::Stuck
}

/// Says what to do about it.
pub(super) fn tell_stuck(action: &ActionStatus, out: &Output) {
    out.say(&format!(
        "{} is as the fault left it, and a person is needed: put it back as said above, or run `kitty-agent revert --all` on its host; `kittyctl action get {}` shows the state",
        action.target_id, action.id
    ));
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
