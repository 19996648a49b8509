//! `kittyctl agent …`

use std::process::ExitCode;

use chaos_kitty::v1::ListAgentsRequest;

use crate::{
    args::{AgentCommand, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: &AgentCommand, global: &Global, out: &Output) -> Outcome {
    let AgentCommand::List = command;
    let session = Session::open(global).await?;
    let response = session.answer(session.client.clone().list_agents(ListAgentsRequest {})).await?;
    out.list(&response, &response.agents)?;
    Ok(ExitCode::SUCCESS)
}
