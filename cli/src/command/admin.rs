//! `kittyctl admin …`

use std::process::ExitCode;

use chaos_kitty::v1::{GetAdminStateRequest, SetAdminStateRequest, admin_state::Name};

use super::source;
use crate::{
    args::{AdminCommand, AdminState, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: AdminCommand, global: &Global, out: &Output) -> Outcome {
    let AdminCommand::State { state } = command;
    let session = Session::open(global).await?;
    let mut client = session.client.clone();
    let answer = match state {
        Some(state) => {
            let request = SetAdminStateRequest { state: name(state).into(), source: source() };
            session.answer(client.set_admin_state(request)).await?
        }
        None => session.answer(client.get_admin_state(GetAdminStateRequest {})).await?,
    };
    out.view(&answer)?;
    Ok(ExitCode::SUCCESS)
}

const fn name(state: AdminState) -> Name {
    match state {
        AdminState::Started => Name::Started,
        AdminState::Paused => Name::Paused,
        AdminState::Drain => Name::Drain,
        AdminState::Abort => Name::Abort,
    }
}
