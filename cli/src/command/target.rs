//! `kittyctl target …`

use std::process::ExitCode;

use chaos_kitty::{
    Problem,
    v1::{ListTargetsRequest, ListTargetsResponse},
};

use crate::{
    args::{Global, TargetCommand},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: TargetCommand, global: &Global, out: &Output) -> Outcome {
    let request = request(command);
    let session = Session::open(global).await?;
    let response = all_pages(&session, request).await?;
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

/// Every page, as one answer.
async fn all_pages(
    session: &Session,
    mut request: ListTargetsRequest,
) -> Result<ListTargetsResponse, Problem> {
    let mut whole = ListTargetsResponse::default();
    loop {
        let page = session.answer(session.client.clone().list_targets(request.clone())).await?;
        whole.targets.extend(page.targets);
        if page.next_page_token.is_empty() {
            return Ok(whole);
        }
        request.page_token = page.next_page_token;
    }
}
