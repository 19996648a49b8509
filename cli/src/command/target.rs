//! `kittyctl target …`

use std::process::ExitCode;

use chaos_kitty::v1::{ListTargetsRequest, ListTargetsResponse};

use super::pages;

use crate::{
    args::{Global, TargetCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: TargetCommand, global: &Global, out: &Output) -> Outcome {
    let request = request(command);
    let session = Session::open(global).await?;
    let targets = pages::all(async |page_size, page_token| {
        let request = ListTargetsRequest { page_size, page_token, ..request.clone() };
        let page = session.answer(session.client.clone().list_targets(request)).await?;
        Ok((page.targets, page.next_page_token))
    })
    .await?;
    let response = ListTargetsResponse { targets, ..Default::default() };
    out.list(&response, &response.targets)?;
    Ok(ExitCode::SUCCESS)
}

fn request(command: TargetCommand) -> ListTargetsRequest {
    let TargetCommand::List { platform, group } = command;
    ListTargetsRequest {
        platform_type: platform.unwrap_or_default(),
        aggregation_identifier: group.unwrap_or_default(),
        ..Default::default()
    }
}
