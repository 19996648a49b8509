//! `kittyctl agent …`

use std::process::ExitCode;

use chaos_kitty::v1::{ListAgentsRequest, ListAgentsResponse};

use super::pages;

use crate::{
    args::{AgentCommand, Global},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: &AgentCommand, global: &Global, out: &Output) -> Outcome {
    let AgentCommand::List = command;
    let session = Session::open(global).await?;
    let agents = pages::all(async |page_size, page_token| {
        let request = ListAgentsRequest { page_size, page_token };
        let page = session.answer(session.client.clone().list_agents(request)).await?;
        Ok((page.agents, page.next_page_token))
    })
    .await?;
    let response = ListAgentsResponse { agents, ..Default::default() };
    out.list(&response, &response.agents)?;
    Ok(ExitCode::SUCCESS)
}
